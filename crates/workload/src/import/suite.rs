//! Several tests in one file, as `vllm`'s own benchmarks keep them: `client_parameters`, with defaults for all.

use serde_json::{Map, Value};

use super::{ImportError, Lost};

/// The options of one test.
pub(super) struct Chosen {
    pub(super) options: Map<String, Value>,
    pub(super) lost: Vec<Lost>,
}

/// Whether a file is laid out so.
pub(super) fn is_one(value: &Value) -> bool {
    let tests = tests(value);
    !tests.is_empty() && tests.iter().all(|test| test.contains_key("client_parameters"))
}

/// The options of the test of that name, or of the only one; of a plain map of options those.
pub(super) fn chosen(value: Value, wanted: Option<&str>) -> Result<Chosen, ImportError> {
    let tests = tests(&value);
    if tests.is_empty() {
        let Value::Object(options) = value else {
            return Err(ImportError::Layout("it holds no map of options".to_owned()));
        };
        return Ok(Chosen { options, lost: Vec::new() });
    }
    let name = |test: &Map<String, Value>| {
        test.get("test_name").and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    let known: Vec<String> = tests.iter().map(|test| name(test)).collect();
    let test = match (wanted, tests.as_slice()) {
        (None, [only]) => only,
        (None, _) => return Err(ImportError::Several(known)),
        (Some(wanted), all) => {
            let found = all.iter().find(|test| name(test) == wanted);
            found.ok_or(ImportError::NoSuchTest { wanted: wanted.to_owned(), known })?
        }
    };
    Ok(options_of(value.get("defaults").and_then(Value::as_object), test))
}

fn tests(value: &Value) -> Vec<&Map<String, Value>> {
    let list = value.as_array().or_else(|| value.get("tests")?.as_array());
    list.into_iter().flatten().filter_map(Value::as_object).collect()
}

/// A test's own parameters over those of all. Rates and users to be tried one after the other stand beside them.
fn options_of(defaults: Option<&Map<String, Value>>, test: &Map<String, Value>) -> Chosen {
    let (mut options, mut lost) = (Map::new(), Vec::new());
    for part in defaults.into_iter().chain([test]) {
        for (name, value) in part {
            match (name.as_str(), value) {
                ("client_parameters", Value::Object(own)) => options.extend(own.clone()),
                ("qps_list" | "max_concurrency_list", _) => {
                    _ = options.insert(name.clone(), value.clone());
                }
                ("server_parameters" | "server_environment_variables", _) => {}
                ("test_name", _) => _ = options.insert("label".to_owned(), value.clone()),
                _ => lost.push(Lost {
                    path: name.clone(),
                    reason: "there is nothing like it here".to_owned(),
                }),
            }
        }
    }
    Chosen { options, lost }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_test_is_its_own_parameters_over_those_of_all() {
        let suite = json!({
            "defaults": {"qps_list": [1, "inf"], "client_parameters": {"model": "m", "num_prompts": 200}},
            "tests": [
                {"test_name": "a", "client_parameters": {"num_prompts": 5}, "server_parameters": {"x": 1}},
                {"test_name": "b", "client_parameters": {}},
            ],
        });
        assert!(is_one(&suite));
        let chosen_test = chosen(suite.clone(), Some("a")).unwrap();
        let expected =
            json!({"qps_list": [1, "inf"], "model": "m", "num_prompts": 5, "label": "a"});
        assert_eq!(Value::Object(chosen_test.options), expected);
        let message = chosen(suite.clone(), None).err().unwrap().to_string();
        assert_eq!(message, "it holds 2 tests: choose one with `--test`: a, b");
        assert!(matches!(chosen(suite, Some("c")), Err(ImportError::NoSuchTest { .. })));
    }
}
