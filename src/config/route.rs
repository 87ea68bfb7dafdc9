//! Where a provider's models are served: the format and path of each, when one row serves several.

use serde_json::Value;

use super::problem::Problem;
use super::reader::Reader;
use super::settings::Route;
use crate::wire::WireFormat;

/// A wire format by its word.
pub fn format(word: Option<String>) -> WireFormat {
    word.and_then(|word| serde_json::from_value(Value::String(word)).ok()).unwrap_or_default()
}

/// Reads the routes of a row, the row's own last. What has a wrong shape was reported by the check against the table.
pub fn read(id: &str, row: &Value, problems: &mut Vec<Problem>) -> Vec<Route> {
    let mut routes = Vec::new();
    let mut path_problem = |key: String, path: &Option<String>| {
        if path.as_ref().is_some_and(|path| !path.starts_with('/')) {
            problems.push(Problem::new(
                format!("providers.{id}.{key}"),
                "starts with `/`, e.g. /chat/completions",
            ));
        }
    };
    let listed = row.get("routes").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    for (at, item) in listed.iter().enumerate() {
        let read = Reader::new(item, "providers.*.routes.#.");
        let (path, stream_path) = (read.text("path"), read.text("stream_path"));
        path_problem(format!("routes[{at}].path"), &path);
        path_problem(format!("routes[{at}].stream_path"), &stream_path);
        routes.push(Route {
            models: read.names("models").unwrap_or_default(),
            wire: format(read.text("wire")),
            stream_path: stream_path.or_else(|| path.clone()),
            path,
        });
    }
    let read = Reader::new(row, "providers.*.");
    let (path, stream_path) = (read.text("path"), read.text("stream_path"));
    path_problem("path".to_owned(), &path);
    path_problem("stream_path".to_owned(), &stream_path);
    routes.push(Route {
        models: vec!["*".to_owned()],
        wire: format(read.text("wire")),
        stream_path: stream_path.or_else(|| path.clone()),
        path,
    });
    routes
}

impl Route {
    /// Path after `base_url` for a model: its name is percent-encoded into the template.
    pub fn path(&self, model: &str, stream: bool) -> String {
        let given = if stream { &self.stream_path } else { &self.path };
        let template = given.as_deref().unwrap_or_else(|| self.wire.path(stream));
        match template.split_once("{model}") {
            Some((before, after)) => format!("{before}{}{after}", percent_encoded(model)),
            None => template.to_owned(),
        }
    }
}

/// One segment of a path.
fn percent_encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~@".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_is_one_segment_of_its_path() {
        let route = Route { wire: WireFormat::BedrockConverse, ..Route::default() };
        assert_eq!(route.path("us.a/b-v1:0", false), "/model/us.a%2Fb-v1%3A0/converse");
        let route = Route { wire: WireFormat::Gemini, ..Route::default() };
        assert_eq!(route.path("gemini-é", true), "/models/gemini-%C3%A9:streamGenerateContent?alt=sse");
        assert_eq!(Route::default().path("x/y", true), "/chat/completions");
        let path = Some("/deployments/{model}/chat?api-version=1".to_owned());
        let route = Route { stream_path: path.clone(), path, ..Route::default() };
        assert_eq!(route.path("d 1", true), "/deployments/d%201/chat?api-version=1");
    }
}
