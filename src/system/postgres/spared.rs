//! Whether a trigger passes over a login by its WHEN.

/// Whether a trigger's WHEN, as the server spells it, is never true in a session of this login:
/// `session_user <> 'login'`, alone or with AND. Whatever is said in another way counts as true.
///
/// Not `current_user`: where a foreign key takes rows along that is the table's owner.
pub(super) fn passes_over(when: &str, login: &str) -> bool {
    let wanted = format!("'{}'", login.replace('\'', "''"));
    conjuncts(when).iter().any(|c| is_another(c, &wanted))
}

/// `SESSION_USER <> 'a'::name`, or the same of a list.
fn is_another(conjunct: &str, wanted: &str) -> bool {
    let conjunct = bare(conjunct);
    let session = ["SESSION_USER", "(SESSION_USER)::text"];
    let Some(rest) = session.iter().find_map(|s| conjunct.strip_prefix(s)) else {
        return false;
    };
    let is = |literal: &str| literal.split("::").next() == Some(wanted);
    let list = rest.strip_prefix(" <> ALL (ARRAY[");
    if let Some(list) = list.and_then(|rest| rest.strip_suffix("])")) {
        return list.split(", ").any(is);
    }
    let one = [" <> ", " IS DISTINCT FROM "];
    one.iter()
        .find_map(|o| rest.strip_prefix(o))
        .is_some_and(is)
}

/// The parts of an AND; the whole if it is none.
fn conjuncts(condition: &str) -> Vec<&str> {
    let condition = bare(condition);
    let mut parts = Vec::new();
    let mut from = 0;
    for (at, depth) in depths(condition) {
        if depth == 0 && condition[at..].starts_with(" AND ") {
            parts.push(&condition[from..at]);
            from = at + " AND ".len();
        }
    }
    parts.push(&condition[from..]);
    parts
}

/// Without the brackets around the whole.
fn bare(mut condition: &str) -> &str {
    loop {
        let inner = condition
            .strip_prefix('(')
            .and_then(|c| c.strip_suffix(')'));
        let around = |inner: &str| depths(inner).all(|(_, depth)| depth >= 0);
        match inner.filter(|inner| around(inner)) {
            Some(inner) => condition = inner,
            None => return condition,
        }
    }
}

/// Each place outside quotes, and how many brackets are open after it.
fn depths(text: &str) -> impl Iterator<Item = (usize, i32)> + '_ {
    let (mut depth, mut quoted) = (0, false);
    text.char_indices().filter_map(move |(at, c)| {
        match c {
            '\'' => quoted = !quoted,
            '(' if !quoted => depth += 1,
            ')' if !quoted => depth -= 1,
            _ => {}
        }
        (!quoted).then_some((at, depth))
    })
}

#[cfg(test)]
mod tests {
    use super::passes_over;

    #[test]
    fn only_what_is_never_true_passes_over() {
        for (when, expected) in [
            ("(SESSION_USER <> 'me'::name)", true),
            ("((SESSION_USER)::text <> 'me'::text)", true),
            ("(SESSION_USER IS DISTINCT FROM 'me'::name)", true),
            (
                "(SESSION_USER <> ALL (ARRAY['you'::name, 'me'::name]))",
                true,
            ),
            (
                "((old.a IS NOT NULL) AND (SESSION_USER <> 'me'::name))",
                true,
            ),
            ("(SESSION_USER <> 'you'::name)", false),
            ("(SESSION_USER = 'me'::name)", false),
            ("(SESSION_USER <> ALL (ARRAY['you'::name]))", false),
            ("(NOT (SESSION_USER <> 'me'::name))", false),
            ("((SESSION_USER <> 'me'::name) IS FALSE)", false),
            ("((SESSION_USER <> 'me'::name) OR (old.a > 1))", false),
            (
                "(((SESSION_USER <> 'me'::name) AND (old.a > 1)) OR (old.b > 1))",
                false,
            ),
            (
                "(old.a <> ' AND (SESSION_USER <> ''me''::name)'::text)",
                false,
            ),
            ("(CURRENT_USER <> 'me'::name)", false),
            ("(old.a > 1)", false),
            ("", false),
        ] {
            assert_eq!(passes_over(when, "me"), expected, "{when}");
        }
        assert!(passes_over("(SESSION_USER <> 'o''me'::name)", "o'me"));
    }
}
