//! Schemas, in the dialect that a model takes.

use serde_json::{Value, json};

use super::{asking, sent, target};
use crate::wire::{WireFormat, testing};

fn declared(model: &str, schema: &Value) -> Value {
    let tool = json!({"type": "function", "function": {"name": "f", "parameters": schema}});
    sent(model, &asking(&json!({"tools": [tool]}))).0["tools"][0]["functionDeclarations"][0].clone()
}

#[test]
fn a_schema_goes_as_it_is_in_the_dialect_that_has_its_words() {
    let plain = json!({"type": "object", "required": ["a"], "properties": {
        "a": {"type": "string", "enum": ["x"], "description": "d"}, "b": {"type": "array", "items": {"type": "integer", "minimum": 1}},
        "c": {"anyOf": [{"type": "string"}, {"type": "number"}]}}});
    for model in ["gemini-1.5-pro", "gemini-2.5-flash"] {
        assert_eq!(declared(model, &plain), json!({"name": "f", "parameters": plain}));
    }
    for schema in [
        json!({"type": "object", "properties": {}}),
        json!({"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": false}),
        json!({"type": "object", "properties": {"a": {"type": ["string", "null"]}}}),
        json!({"type": "object", "properties": {"a": {"type": "string", "format": "uri"}}}),
        json!({"type": "object", "properties": {"a": {"type": "integer", "enum": [1]}}}),
        json!({"type": "object", "properties": {"a": {"type": "array"}}}),
        json!({"type": "object", "properties": {"a": {"type": "string"}}, "required": ["z"]}),
        json!({"type": "object", "properties": {"a": {"$ref": "#/$defs/A"}}, "$defs": {"A": {"type": "string"}}}),
    ] {
        assert_eq!(
            declared("gemini-2.5-flash", &schema),
            json!({"name": "f", "parametersJsonSchema": schema})
        );
    }
}

#[test]
fn a_reference_with_words_beside_it_is_followed() {
    let schema = json!({"type": "object", "properties": {"a": {"$ref": "#/$defs/A", "description": "mine"}, "b": {"$ref": "#/$defs/A"}},
        "$defs": {"A": {"type": "string", "description": "its"}}});
    assert_eq!(
        declared("gemini-2.5-flash", &schema)["parametersJsonSchema"]["properties"],
        json!({"a": {"type": "string", "description": "mine"}, "b": {"$ref": "#/$defs/A"}})
    );
}

#[test]
fn what_openapi_has_no_word_for_is_rewritten() {
    for (written, expected) in [
        (json!({"type": ["string", "null"]}), json!({"type": "string", "nullable": true})),
        (json!({"type": ["string", "integer"]}), json!({"anyOf": [{"type": "string"}, {"type": "integer"}]})),
        (json!({"const": "x"}), json!({"type": "string", "enum": ["x"]})),
        (json!({"type": "integer", "enum": [1, 2]}), json!({"type": "integer"})),
        (
            json!({"anyOf": [{"type": "string", "format": "uri"}, {"type": "null"}]}),
            json!({"type": "string", "nullable": true}),
        ),
        (
            json!({"oneOf": [{"type": "string"}, {"type": "number"}]}),
            json!({"anyOf": [{"type": "string"}, {"type": "number"}]}),
        ),
        (
            json!({"allOf": [{"$ref": "#/$defs/A"}, {"description": "d"}]}),
            json!({"type": "string", "description": "d"}),
        ),
        (json!({"$ref": "#/$defs/A"}), json!({"type": "string"})),
        (json!({"$ref": "#/$defs/nowhere"}), json!({"type": "object"})),
        (json!({"type": "number", "exclusiveMinimum": 3}), json!({"type": "number", "minimum": 3})),
        (json!({"type": "array"}), json!({"type": "array", "items": {"type": "string"}})),
        (json!(true), json!({"type": "string"})),
    ] {
        let schema = json!({"type": "object", "additionalProperties": false, "$schema": "s", "required": ["a", "z"],
            "properties": {"a": written}, "$defs": {"A": {"type": "string"}}});
        assert_eq!(
            declared("gemini-1.5-pro", &schema)["parameters"],
            json!({"type": "object", "properties": {"a": expected}, "required": ["a"]}),
            "{written}"
        );
    }
    assert_eq!(
        declared("gemini-1.5-pro", &json!({"type": "object", "properties": {}})),
        json!({"name": "f"})
    );
}

#[test]
fn circles_end_and_explosions_are_refused() {
    let circle = json!({"$ref": "#/$defs/N", "$defs": {"N": {"type": "object", "properties": {"v": {"type": "string"}, "next": {"$ref": "#/$defs/N"}}}}});
    let unfolded = declared("gemini-1.5-pro", &circle)["parameters"].to_string();
    assert_eq!(unfolded.matches("\"next\"").count(), 8);
    let many: serde_json::Map<String, Value> =
        (0..10).map(|at| (format!("p{at}"), json!({"$ref": "#/$defs/N", "title": "t"}))).collect();
    let bomb =
        json!({"$ref": "#/$defs/N", "title": "t", "$defs": {"N": {"type": "object", "properties": many}}});
    for model in ["gemini-1.5-pro", "gemini-2.5-flash"] {
        let tool = json!({"type": "function", "function": {"name": "f", "parameters": bomb}});
        let body = asking(&json!({"tools": [tool]})).to_string();
        let refused = testing::encode_for(WireFormat::Gemini, model, &body, &target()).unwrap_err();
        assert_eq!(refused.param(), Some("tools[0].function.parameters"));
    }
}

#[test]
fn the_form_of_an_answer_is_json_schema_where_the_model_has_it() {
    let schema =
        json!({"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": false});
    let asked = asking(
        &json!({"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": schema, "strict": true}}}),
    );
    assert_eq!(
        sent("gemini-2.5-flash", &asked).0["generationConfig"],
        json!({"responseMimeType": "application/json", "responseJsonSchema": schema})
    );
    assert_eq!(
        sent("gemini-1.5-pro", &asked).0["generationConfig"],
        json!({"responseMimeType": "application/json", "responseSchema": {"type": "object", "properties": {"a": {"type": "string"}}}})
    );
}
