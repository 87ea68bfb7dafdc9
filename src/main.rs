//! The `llm-gateway` binary: reads the command line and hands over.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use llm_gateway::cli::{check, demo, health, keys, migrate, models, out, reconcile, serve, stub};
use llm_gateway::config::Settings;
use llm_gateway::http::door::now_ms;
use llm_gateway::store;
use llm_gateway::store::SqliteStore;
use llm_gateway::telemetry;

/// A general allocator costs a gateway a tenth of its time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// An OpenAI-compatible LLM gateway.
#[derive(Parser)]
#[command(name = "llm-gateway", version, about, propagate_version = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Try it: gateway, store and a stub provider on this machine, with nothing to set up
    Demo(demo::Arguments),
    /// Serve: the real thing
    Serve(ConfigFile),
    /// Validate the configuration and print every problem, or what it amounts to
    Check(ConfigFile),
    /// Ask a gateway on this machine whether it is ready: exit code 0 when it is
    Health(health::Arguments),
    /// Make, list and revoke API keys
    Keys {
        #[command(subcommand)]
        command: keys::Command,
        #[command(flatten)]
        config: ConfigFile,
    },
    /// Bring the schema of the store up to date
    Migrate(ConfigFile),
    /// List the catalogue, or make one from LiteLLM's price file
    Models {
        #[command(subcommand)]
        command: models::Command,
        #[command(flatten)]
        config: ConfigFile,
    },
    /// Hold a provider's bill against the ledger: exit code 0 equal, 1 different, 2 a bad file
    Reconcile {
        #[command(flatten)]
        bill: reconcile::Arguments,
        #[command(flatten)]
        config: ConfigFile,
    },
    /// Run the stub provider alone, for load and for tests of clients
    Stub(stub::Arguments),
    /// Print the version
    Version,
}

/// Which configuration.
#[derive(clap::Args)]
struct ConfigFile {
    /// Configuration file [default: config/gateway.yaml if it is there]
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
}

fn main() -> ExitCode {
    let code = match Arguments::parse().command {
        Command::Demo(arguments) => demo::run(&arguments),
        Command::Stub(arguments) => stub::run(&arguments),
        Command::Serve(ConfigFile { config }) => serve::run(config.as_deref()),
        Command::Check(ConfigFile { config }) => run_check(config.as_deref()),
        Command::Health(arguments) => finish(health::run(&arguments)),
        Command::Keys { command, config } => run_keys(command, config.config.as_deref()),
        Command::Migrate(ConfigFile { config }) => with_settings(config.as_deref(), migrate::run),
        Command::Models { command, config } => run_models(command, config.config.as_deref()),
        Command::Reconcile { bill, config } => run_reconcile(&bill, config.config.as_deref()),
        Command::Version => {
            out::out(concat!("llm-gateway ", env!("CARGO_PKG_VERSION"), "\n"));
            0
        }
    };
    telemetry::flush();
    ExitCode::from(code)
}

fn run_check(file: Option<&Path>) -> u8 {
    let (text, code) = check::render(&serve::load(file).map(|(loaded, _)| loaded));
    if code == 0 {
        out::out(&text)
    } else {
        out::err(&text)
    }
    code
}

fn run_models(command: models::Command, file: Option<&Path>) -> u8 {
    let text = match command {
        models::Command::Import { file, out, verbose } => models::import_file(&file, &out, verbose),
        models::Command::List { name, provider } => match serve::load(file) {
            Ok((_, catalog)) => models::list(&catalog, name.as_deref(), provider.as_deref()),
            Err(problems) => {
                out::err(&check::problems(&problems));
                return check::EXIT_PROBLEMS;
            }
        },
    };
    finish(text)
}

/// Prints an outcome; gives the exit code.
fn finish(outcome: Result<String, String>) -> u8 {
    match outcome {
        Ok(text) => {
            out::out(&text);
            0
        }
        Err(error) => {
            out::err(&format!("error: {error}\n"));
            1
        }
    }
}

/// Keys are changed in the store itself; a running gateway follows within seconds.
fn run_keys(command: keys::Command, file: Option<&Path>) -> u8 {
    with_settings(file, async |settings| {
        let store = store::open(&settings).await.map_err(|error| error.to_string())?;
        let text = keys::run(command, &*store, now_ms()).await.map_err(|error| error.to_string());
        store.close().await;
        text
    })
}

/// Runs a command that needs the configuration; prints its outcome and gives the exit code.
fn with_settings<F: Future<Output = Result<String, String>>>(
    file: Option<&Path>,
    command: impl FnOnce(Settings) -> F,
) -> u8 {
    match serve::load(file) {
        Ok((loaded, _)) => finish(actix_rt::System::new().block_on(command(loaded.settings))),
        Err(problems) => {
            out::err(&check::problems(&problems));
            check::EXIT_PROBLEMS
        }
    }
}

/// Reads the ledger beside a gateway that may be running; changes nothing.
fn run_reconcile(arguments: &reconcile::Arguments, file: Option<&Path>) -> u8 {
    let (loaded, catalog) = match serve::load(file) {
        Ok(loaded) => loaded,
        Err(problems) => {
            out::err(&check::problems(&problems));
            return check::EXIT_PROBLEMS;
        }
    };
    let settings = loaded.settings;
    let id = arguments.provider.as_str();
    let listed_as = settings.providers.get(id).map_or(id, |provider| &*provider.catalog);
    let outcome = reconcile::read_bill(arguments).and_then(|bill| {
        actix_rt::System::new().block_on(async {
            let embedded = settings.database.url.is_none();
            if embedded && !settings.data_dir.join(SqliteStore::FILE_NAME).exists() {
                return Err(format!("there is no ledger in {}", settings.data_dir.display()));
            }
            let store = store::open(&settings).await.map_err(|error| error.to_string())?;
            let outcome = reconcile::run(arguments, bill, &*store, (&catalog, listed_as)).await;
            store.close().await;
            outcome
        })
    });
    match outcome {
        Ok((text, equal)) => {
            out::out(&text);
            if equal { 0 } else { reconcile::EXIT_DIFFERENT }
        }
        Err(error) => {
            out::err(&format!("error: {error}\n"));
            reconcile::EXIT_BAD
        }
    }
}
