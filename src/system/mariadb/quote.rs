//! Names inside MariaDB's SQL.

/// A name as a quoted identifier: always between backticks, which are doubled inside.
pub fn identifier(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

#[cfg(test)]
mod tests {
    #[test]
    fn nothing_gets_out_of_its_quotes() {
        assert_eq!(super::identifier("a`b\"漢"), "`a``b\"漢`");
    }
}
