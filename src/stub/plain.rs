//! An answer that does not stream: one `chat.completion`.

use serde::Serialize;
use serde_json::{Value, json};

use super::answer::{Answer, PICTURE, Usage};
use super::chunk::{Facts, logprobs};
use super::parts::pieces;
use super::request::Request;

#[derive(Serialize)]
struct Completion<'a> {
    id: &'a str,
    object: &'static str,
    created: u64,
    model: &'a str,
    choices: Vec<Choice<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Usage>,
    service_tier: &'static str,
    system_fingerprint: &'static str,
}

#[derive(Serialize)]
struct Choice<'a> {
    index: u32,
    message: &'a Message<'a>,
    logprobs: &'a Option<Value>,
    finish_reason: &'static str,
}

#[derive(Serialize)]
struct Message<'a> {
    role: &'static str,
    content: Option<&'a str>,
    #[serde(skip_serializing_if = "str::is_empty")]
    reasoning_content: &'a str,
    refusal: (),
    annotations: [(); 0],
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<Value>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    images: Vec<Value>,
}

/// The body.
pub fn body(request: &Request, answer: Answer, facts: &Facts) -> Vec<u8> {
    let (reasoning, finish_reason, calls) = (answer.reasoning, answer.finish, answer.calls);
    let text = answer.words.into_text();
    let call = |call: &super::answer::Call| {
        let function = json!({"name": call.name, "arguments": call.arguments});
        json!({"id": call.id, "type": "function", "function": function})
    };
    let message = Message {
        role: "assistant",
        content: calls.is_empty().then_some(text.as_str()),
        reasoning_content: &reasoning,
        refusal: (),
        annotations: [],
        tool_calls: calls.iter().map(call).collect(),
        images: answer
            .image
            .then(|| json!({"type": "image_url", "image_url": {"url": PICTURE}}))
            .into_iter()
            .collect(),
    };
    let tokens = || pieces(&text).map(|piece| logprobs(text.get(piece).unwrap_or("")));
    let logprobs =
        request.logprobs.then(|| json!({"content": tokens().collect::<Vec<_>>(), "refusal": null}));
    let choice = |index| Choice { index, message: &message, logprobs: &logprobs, finish_reason };
    let completion = Completion {
        id: &facts.id,
        object: "chat.completion",
        created: facts.created,
        model: &facts.model,
        choices: (0..request.n).map(choice).collect(),
        usage: answer.usage,
        service_tier: "default",
        system_fingerprint: "fp_stub",
    };
    serde_json::to_vec(&completion).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stub::Behaviour;

    fn plain(model: &str, more: Value) -> Value {
        let mut body = json!({"model": model, "messages": [{"role": "user", "content": "one two"}]});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let request = Request::parse(body.to_string().as_bytes()).unwrap();
        let answer = Answer::of(&request, Behaviour::parse(model).unwrap());
        let facts = Facts { id: "chatcmpl-1".into(), created: 7, model: model.into() };
        serde_json::from_slice(&super::body(&request, answer, &facts)).unwrap()
    }

    #[test]
    fn the_answer_has_openais_shape() {
        let details = json!({"reasoning_tokens": 0, "audio_tokens": 0, "accepted_prediction_tokens": 0, "rejected_prediction_tokens": 0});
        assert_eq!(
            plain("echo", json!({})),
            json!({"id": "chatcmpl-1", "object": "chat.completion", "created": 7, "model": "echo",
                "choices": [{"index": 0, "message": {"role": "assistant", "content": "one two", "refusal": null, "annotations": []},
                    "logprobs": null, "finish_reason": "stop"}],
                "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5,
                    "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0}, "completion_tokens_details": details},
                "service_tier": "default", "system_fingerprint": "fp_stub"})
        );
    }

    #[test]
    fn choices_log_probabilities_calls_and_pictures_are_there_when_asked_for() {
        let two = plain("n", json!({"n": 2, "logprobs": true}));
        assert_eq!(two["choices"][1]["logprobs"]["content"][1]["token"], "two");
        let tools =
            json!({"tools": [{"type": "function", "function": {"name": "f"}}], "tool_choice": "required"});
        let call = &plain("echo", tools)["choices"][0];
        assert_eq!(
            (&call["message"]["content"], &call["finish_reason"]),
            (&Value::Null, &json!("tool_calls"))
        );
        assert_eq!(call["message"]["tool_calls"][0]["function"], json!({"name": "f", "arguments": "{}"}));
        let image = &plain("image", json!({}))["choices"][0]["message"];
        assert_eq!(image["images"][0]["image_url"]["url"], PICTURE);
        assert!(plain("reasoning", json!({}))["choices"][0]["message"]["reasoning_content"].is_string());
        assert!(plain("nousage", json!({})).get("usage").is_none());
        assert_eq!(plain("filter", json!({}))["choices"][0]["finish_reason"], "content_filter");
        assert_eq!(
            plain("big:bytes=33", json!({}))["choices"][0]["message"]["content"].as_str().unwrap().len(),
            33
        );
    }
}
