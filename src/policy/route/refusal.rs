//! Why a plan has no target: what fell out, and which of the reasons is told.

use std::sync::Arc;

use super::Ask;
use super::candidates::forbidden;
use crate::catalog::Capability;
use crate::error::Error;

/// Why candidates fell out.
#[derive(Default)]
pub(super) struct Refusals {
    /// The first that cannot do what the request needs.
    pub unfit: Option<Error>,
    /// One could do it, but is too small for the prompt.
    pub too_large: bool,
    /// One is past its last day.
    pub retired: bool,
    /// The key may not use one.
    pub forbidden: bool,
    /// Providers that cannot be reached for want of a credential, and the variables that would mend it.
    unreachable: Vec<Arc<str>>,
    env: Vec<String>,
}

impl Refusals {
    /// Notes a provider without credential or configuration.
    pub fn unreachable(&mut self, provider: &Arc<str>, env: &[String]) {
        if !self.unreachable.contains(provider) {
            self.unreachable.push(Arc::clone(provider));
        }
        for name in env {
            if !self.env.contains(name) {
                self.env.push(name.clone());
            }
        }
    }

    /// What is told of a canonical name.
    pub fn of_model(self, model: &str) -> Error {
        if let Some(unfit) = self.unfit {
            return unfit;
        }
        if self.forbidden {
            return forbidden(model);
        }
        if self.retired && self.unreachable.is_empty() {
            return Error::ModelRetired(format!("The model `{model}` has been retired by every provider."));
        }
        if self.env.is_empty() {
            return unconfigured(model, &self.unreachable);
        }
        no_credentials(model, &self.env)
    }

    /// What is told of `auto`.
    pub fn of_auto(self, ask: &Ask) -> Error {
        if ask.free_only {
            let message =
                "No free model can take this request. Leave `free_models_only` out, or ask for less.";
            return Error::invalid_code(message, Some("free_models_only"), "no_free_model");
        }
        if self.too_large {
            let message = "No model of the `auto` pool has room for this prompt and the output asked for. Ask for less, or name a model.";
            return Error::invalid_code(message, Some("messages"), "context_length_exceeded");
        }
        if self.unfit.is_some() {
            let mut needs: Vec<String> =
                ask.needs.iter().map(|need: Capability| need.name().to_owned()).collect();
            needs.extend(ask.max_output.map(|most| format!("{most} output tokens")));
            let message = format!(
                "No model of the `auto` pool can do what this request needs ({}). Name a model that can.",
                needs.join(", ")
            );
            return Error::invalid_code(message, Some("model"), "unsupported_capability");
        }
        if self.forbidden {
            return forbidden("auto");
        }
        no_credentials("auto", &self.env)
    }
}

/// 503 naming what would mend it; names only.
pub(super) fn no_credentials(asked: &str, env: &[String]) -> Error {
    let mend = match env {
        [] => "Its provider has no credential: set `api_key` in the configuration.".to_owned(),
        names => format!("No provider of it has a credential: set {} for the gateway.", names.join(" or ")),
    };
    Error::NoCredentials(format!("The model `{asked}` is known but cannot be reached. {mend}"))
}

/// 503 for a model whose providers need no credential but a place in the configuration.
fn unconfigured(asked: &str, providers: &[Arc<str>]) -> Error {
    let mend = format!("Configure a provider of it: {}.", providers.join(" or "));
    Error::NoCredentials(format!("The model `{asked}` is known but cannot be reached. {mend}"))
}
