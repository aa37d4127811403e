//! MariaDB's types, as far as it matters how values of theirs are compared.

/// How values of a type are read, bound and compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MariaDbType<'a> {
    /// By a collation, in a character set.
    Text {
        /// The character set.
        charset: &'a str,
        /// The collation.
        collation: &'a str,
    },
    /// A whole number.
    Integer {
        /// Without a sign.
        unsigned: bool,
    },
    /// A number with decimals; as the type is written.
    Decimal(&'a str),
    /// Bytes.
    Bytes,
    /// A date or a time, or both; as it is bound.
    Time(&'static str),
    /// A UUID.
    Uuid,
    /// Whatever else: not compared.
    Other,
}

impl<'a> MariaDbType<'a> {
    /// From [`Column::sql_type`](super::Column::sql_type).
    pub fn of(sql_type: &'a str) -> Self {
        if let Some((_, rest)) = sql_type.split_once(" CHARACTER SET ")
            && let Some((charset, collation)) = rest.split_once(" COLLATE ")
        {
            return Self::Text { charset, collation };
        }
        let word = sql_type.split(['(', ' ']).next().unwrap_or_default();
        match word {
            "tinyint" | "smallint" | "mediumint" | "int" | "bigint" | "year" => Self::Integer {
                unsigned: sql_type.contains("unsigned"),
            },
            "decimal" => Self::Decimal(sql_type),
            "binary" | "varbinary" | "tinyblob" | "blob" | "mediumblob" | "longblob" => Self::Bytes,
            "date" => Self::Time("DATE"),
            "datetime" | "timestamp" => Self::Time("DATETIME(6)"),
            "time" => Self::Time("TIME(6)"),
            "uuid" => Self::Uuid,
            _ => Self::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::MariaDbType;

    #[test]
    fn a_type_is_told_from_its_text() {
        let text = "varchar(20) CHARACTER SET utf8mb3 COLLATE utf8mb3_general_ci";
        let (charset, collation) = ("utf8mb3", "utf8mb3_general_ci");
        assert_eq!(
            MariaDbType::of(text),
            MariaDbType::Text { charset, collation }
        );
        let unsigned = MariaDbType::of("bigint(20) unsigned");
        assert_eq!(unsigned, MariaDbType::Integer { unsigned: true });
        assert_eq!(MariaDbType::of("binary(16)"), MariaDbType::Bytes);
        assert_eq!(MariaDbType::of("float"), MariaDbType::Other);
    }
}
