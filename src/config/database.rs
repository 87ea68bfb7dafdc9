//! Where the store is. Pure.
//!
//! No message repeats a part of the address: what looks like a parameter may be the end of a password.

use super::problem::Problem;
use super::reader::Reader;
use super::secret::{self, Outside, Resolved, Secret};
use super::settings::DatabaseSettings;

/// Parameters that the address may have.
const PARAMETERS: [&str; 10] = [
    "sslmode",
    "sslrootcert",
    "sslcert",
    "sslkey",
    "host",
    "port",
    "dbname",
    "user",
    "password",
    "application_name",
];

/// Reads `database`.
pub fn read(
    read: &Reader<'_>,
    outside: &Outside<'_>,
    problems: &mut Vec<Problem>,
    warnings: &mut Vec<String>,
) -> DatabaseSettings {
    let url = read.text("database.url").and_then(|reference| {
        resolved(&reference, outside, warnings)
            .map_err(|message| problems.push(Problem::new("database.url", message)))
            .ok()
    });
    let max_connections = read.number("database.max_connections").and_then(|count| u32::try_from(count).ok());
    DatabaseSettings {
        url,
        max_connections: max_connections.unwrap_or(1),
        migrate: read.flag("database.migrate"),
    }
}

fn resolved(reference: &str, outside: &Outside<'_>, warnings: &mut Vec<String>) -> Result<Secret, String> {
    match secret::resolve(reference, outside)? {
        // Never the embedded store in its place: it would be empty.
        Resolved::NotSet(variable) => Err(format!("environment variable {variable} is not set")),
        Resolved::Value(url, warning) => {
            warnings.extend(warning.map(|warning| format!("database.url: {warning}")));
            check(url.expose()).map(|()| url).map_err(str::to_owned)
        }
    }
}

fn check(url: &str) -> Result<(), &'static str> {
    if !["postgres://", "postgresql://"].iter().any(|scheme| url.starts_with(scheme)) {
        return Err("must start with postgres://, e.g. postgres://user:password@db.internal:5432/gateway");
    }
    let path = url.split_once("://").and_then(|(_, rest)| rest.split_once('/')).map_or("", |(_, path)| path);
    let parameters = url.split_once('?').map_or("", |(_, parameters)| parameters);
    let known = |parameter: &str| PARAMETERS.contains(&parameter.split('=').next().unwrap_or_default());
    // An `@` that far behind means that the password holds a `/`: what is taken for the database's name is a part of it.
    if url.contains('#')
        || path.contains('@')
        || !parameters.split('&').filter(|parameter| !parameter.is_empty()).all(known)
    {
        return Err(
            "holds a parameter that is not known, or a password that is not percent-encoded; known are sslmode, sslrootcert, sslcert, sslkey, host, port, dbname, \
             user, password and application_name. In a password `?` is written as %3F, `#` as %23, `/` as %2F, `@` as %40",
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::assemble;
    use super::*;

    fn settings(text: &str) -> Result<(DatabaseSettings, Vec<String>, String), Vec<Problem>> {
        let env = |name: &str| (name == "DB").then(|| "postgres://u:hunter2@h/d".to_owned());
        let outside = Outside { env: &env, file: &|_| Err("no files here".to_owned()) };
        let loaded = assemble(Some(("f", text)), [], &outside)?;
        Ok((loaded.settings.database, loaded.warnings, loaded.settings.effective.to_string()))
    }

    #[test]
    fn the_address_is_a_secret_and_left_out_means_the_embedded_store() {
        let (database, _, _) = settings("{}").unwrap();
        assert!(database.url.is_none() && database.migrate && database.max_connections == 10);
        let (database, warnings, shown) =
            settings("{database: {url: 'env:DB', max_connections: 3, migrate: false}}").unwrap();
        assert_eq!(database.url.as_ref().unwrap().expose(), "postgres://u:hunter2@h/d");
        assert!(!database.migrate && database.max_connections == 3 && shown.contains("env:DB"), "{shown}");
        assert!(!warnings.iter().any(|warning| warning.contains("database")), "{warnings:?}");
        let (database, warnings, shown) =
            settings("{database: {url: 'postgresql://u:hunter2@h/d?sslmode=require'}}").unwrap();
        let said = format!("{database:?} {warnings:?} {shown}");
        assert!(!said.contains("hunter2"), "{said}");
        assert!(warnings.iter().any(|warning| warning.starts_with("database.url: holds a secret")));
    }

    #[test]
    fn an_address_that_cannot_be_one_is_refused_and_not_repeated() {
        for (url, expected) in [
            ("env:NONE", "environment variable NONE is not set"),
            ("mysql://u:hunter2@h/d", "must start with postgres://"),
            ("hunter2", "must start with postgres://"),
            ("postgres://u:hun?ter2@h/d", "holds a parameter that is not known"),
            ("postgres://u:12/hunter2@h/d", "holds a parameter that is not known"),
            ("postgres://u:hun#ter2@h/d", "holds a parameter that is not known"),
            ("postgres://u:hunter2@h/d?sslmode=require&hunter2=1", "holds a parameter that is not known"),
        ] {
            let problems = settings(&format!("{{database: {{url: '{url}'}}}}")).unwrap_err();
            let text = format!("{problems:?}");
            assert!(text.contains(expected) && text.contains("database.url"), "{url}: {text}");
            assert!(!text.contains("hunter2") && !text.contains("ter2"), "{text}");
        }
    }
}
