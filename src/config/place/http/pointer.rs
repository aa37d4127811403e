//! `/results/*/id`: where in a JSON answer something stands.

use serde_json::Value;

/// A way into a JSON value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pointer(Vec<Step>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Key(String),
    /// Each of a list.
    Each,
}

impl Pointer {
    /// All that stands there; `None` if the value is not made like that.
    pub fn all<'v>(&self, value: &'v Value) -> Option<Vec<&'v Value>> {
        let mut here = vec![value];
        for step in &self.0 {
            let mut next = Vec::new();
            for value in here {
                match step {
                    Step::Key(key) => next.push(value.as_object()?.get(key)?),
                    Step::Each => next.extend(value.as_array()?),
                }
            }
            here = next;
        }
        Some(here)
    }

    /// The way to each of the innermost list, and what is behind that.
    pub fn parted(&self) -> (Self, Self) {
        let last = self.0.iter().rposition(|step| *step == Step::Each);
        let (list, rest) = self.0.split_at(last.map_or(0, |last| last + 1));
        (Self(list.to_vec()), Self(rest.to_vec()))
    }

    /// What is behind this beginning; `None` if it begins otherwise.
    pub fn behind(&self, beginning: &Self) -> Option<Self> {
        let rest = self.0.strip_prefix(beginning.0.as_slice())?;
        Some(Self(rest.to_vec()))
    }

    /// Whether there may be any number of what it leads to.
    pub fn is_of_many(&self) -> bool {
        self.0.contains(&Step::Each)
    }

    /// The one text that stands there.
    pub fn text<'v>(&self, value: &'v Value) -> Option<&'v str> {
        match self.all(value)?.as_slice() {
            [one] => one.as_str(),
            _ => None,
        }
    }
}

impl std::str::FromStr for Pointer {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let steps = text
            .strip_prefix('/')
            .ok_or("it does not begin with a slash")?;
        let steps = steps.split('/').map(|step| match step {
            "" => Err("a step of it is empty".to_owned()),
            "*" => Ok(Step::Each),
            key => Ok(Step::Key(key.to_owned())),
        });
        steps.collect::<Result<_, _>>().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_answer_made_otherwise_is_not_an_empty_one() {
        let pointer: Pointer = "/results/*/id".parse().unwrap();
        let all = |value: Value| pointer.all(&value).map(|all| all.len());
        assert_eq!(
            all(json!({"results": [{"id": 1}, {"id": "b", "x": 2}]})),
            Some(2)
        );
        assert_eq!(all(json!({"results": []})), Some(0));
        for other in [
            json!({}),
            json!([]),
            json!({"results": {}}),
            json!({"results": null}),
            json!({"results": [{"id": 1}, {"name": "b"}]}),
            json!({"error": "taro@example.jp"}),
        ] {
            assert_eq!(all(other.clone()), None, "{other}");
        }
        for bad in ["", "id", "/", "//", "/a/"] {
            assert!(bad.parse::<Pointer>().is_err(), "{bad}");
        }
    }
}
