//! Names of tables and columns as words.

/// `billingEmail2` and `BILLING_EMAIL_2` are billing, email, 2. What is not Latin stays whole.
pub(super) fn words(name: &str) -> Vec<String> {
    let mut words: Vec<String> = vec![String::new()];
    let mut before: Option<char> = None;
    for c in name.chars() {
        let apart = before.is_some_and(|b| {
            b.is_lowercase() && c.is_uppercase() || b.is_ascii_digit() != c.is_ascii_digit()
        });
        if !c.is_alphanumeric() || apart {
            words.push(String::new());
        }
        if c.is_alphanumeric() {
            words
                .last_mut()
                .expect("one is there")
                .extend(c.to_lowercase());
        }
        before = Some(c);
    }
    words.retain(|word| !word.is_empty());
    words
}

/// The words with `_` around each, so that whole words can be looked for.
pub(super) fn joined(name: &str) -> String {
    format!("_{}_", words(name).join("_"))
}

/// Whether a name holds one of these: whole words where they are Latin, anywhere where not.
pub(super) fn holds<'p>(name: &str, patterns: &[&'p str]) -> Option<&'p str> {
    let joined = joined(name);
    let found = |pattern: &&&'p str| {
        if pattern.is_ascii() {
            let plural = format!("_{pattern}s_");
            joined.contains(&format!("_{pattern}_")) || joined.contains(&plural)
        } else {
            name.contains(**pattern)
        }
    };
    patterns.iter().find(found).copied()
}

/// `customers` is customer, `companies` is company: good enough to compare by.
pub(super) fn singular(word: &str) -> String {
    if let Some(stem) = word.strip_suffix("ies") {
        return format!("{stem}y");
    }
    for end in ["sses", "xes", "ches", "shes"] {
        if word.ends_with(end) {
            return word[..word.len() - 2].to_owned();
        }
    }
    match word.strip_suffix('s') {
        Some(stem) if !word.ends_with("ss") && stem.len() > 2 => stem.to_owned(),
        _ => word.to_owned(),
    }
}

/// A table's name as one would speak of one row: `CustomerAccounts` is `customer_account`.
pub(super) fn row_name(table: &str) -> String {
    let mut words = words(table);
    if let Some(last) = words.last_mut() {
        *last = singular(last);
    }
    words.join("_")
}

/// A name that a policy may make up: a lower-case letter, then letters, digits, `_`.
pub(super) fn plain(name: &str) -> Option<String> {
    let plain: String = words(name).join("_");
    let good = plain.starts_with(|c: char| c.is_ascii_lowercase())
        && plain.is_ascii()
        && plain.len() <= 63;
    good.then_some(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_words() {
        assert_eq!(words("billingEmail2"), ["billing", "email", "2"]);
        assert_eq!(words("__Created-BY"), ["created", "by"]);
        assert_eq!(words("顧客_氏名"), ["顧客", "氏名"]);
        assert_eq!(row_name("Companies"), "company");
        assert_eq!(row_name("app_users"), "app_user");
        assert_eq!(row_name("address"), "address");
        assert_eq!(row_name("addresses"), "address");
        assert_eq!(plain("顧客"), None);
        assert_eq!(plain("Say \"hi\"\n").as_deref(), Some("say_hi"));
        assert!(holds("invoices", &["invoice"]).is_some());
        assert!(holds("voice", &["invoice"]).is_none());
        assert!(holds("月次請求書", &["請求"]).is_some());
    }
}
