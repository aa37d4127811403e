//! Whether two templates, for any values whatever, make one address.

use super::{Part, Template};

/// What stands at one place of an address.
#[derive(Clone)]
enum Step {
    /// This character.
    Is(char),
    /// One character that is none of these.
    One(Vec<char>),
    /// Any number of such.
    Many(Vec<char>),
}

impl Template {
    /// Whether some values make an address of this template that is one of the other's too, or lies in what that
    /// leaves open. `excluded` and `other_excluded` say which characters no value of an identifier holds, beside
    /// those that a template allows in none.
    pub fn may_be(
        &self,
        other: &Self,
        excluded: impl Fn(&str) -> String,
        other_excluded: impl Fn(&str) -> String,
    ) -> bool {
        let (ours, theirs) = (self.steps(excluded), other.steps(other_excluded));
        // From every pair of places from which both can be ended in the same way, the last first.
        let mut ends = vec![vec![false; theirs.len() + 1]; ours.len() + 1];
        for at in (0..=ours.len()).rev() {
            for other_at in (0..=theirs.len()).rev() {
                ends[at][other_at] = match (ours.get(at), theirs.get(other_at)) {
                    (None, None) => true,
                    (Some(one), another) if one.many().is_some() => {
                        ends[at + 1][other_at]
                            || another.is_some_and(|a| one.bears(a) && ends[at][other_at + 1])
                    }
                    (one, Some(another)) if another.many().is_some() => {
                        ends[at][other_at + 1]
                            || one.is_some_and(|one| another.bears(one) && ends[at + 1][other_at])
                    }
                    (Some(one), Some(another)) => one.bears(another) && ends[at + 1][other_at + 1],
                    _ => false,
                };
            }
        }
        ends[0][0]
    }

    fn steps(&self, excluded: impl Fn(&str) -> String) -> Vec<Step> {
        let mut steps = Vec::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => steps.extend(text.chars().map(Step::Is)),
                Part::Rest => steps.push(Step::Many(Vec::new())),
                Part::Identifier(name) => {
                    let closers = self.closers().into_iter();
                    let closers = closers.filter(|(of, _)| of == name).map(|(_, c)| c);
                    let never = closers.chain(self.parted_by(name));
                    let never: Vec<char> = never.chain(excluded(name).chars()).collect();
                    steps.extend([Step::One(never.clone()), Step::Many(never)]);
                }
            }
        }
        steps
    }
}

impl Step {
    fn many(&self) -> Option<&[char]> {
        match self {
            Self::Many(never) => Some(never),
            _ => None,
        }
    }

    /// Whether some character fits both; of one that is repeated, whether it may be met here at all.
    fn bears(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Is(one), Self::Is(another)) => one == another,
            (Self::Is(c), Self::One(never) | Self::Many(never))
            | (Self::One(never) | Self::Many(never), Self::Is(c)) => !never.contains(c),
            // There are more characters than a policy can exclude.
            _ => true,
        }
    }
}
