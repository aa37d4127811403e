//! Which columns look personal by their names: English, Japanese in romaji and in kanji.

use super::names::{holds, words};

/// What a column seems to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Personal {
    Email,
    Phone,
    Name,
    PostalCode,
    Address,
    Birth,
    Card,
    Bank,
    OfficialNumber,
    Gender,
    Network,
    Secret,
    FreeText,
    PerhapsName,
}

/// The first that fits counts, so what is surest stands first.
const KNOWN: &[(Personal, &[&str])] = &[
    (
        Personal::Email,
        &[
            "email",
            "e_mail",
            "mail",
            "mailaddress",
            "emailaddress",
            "mailadr",
            "メール",
            "電子メール",
        ],
    ),
    (
        Personal::Network,
        &[
            "ip",
            "ip_address",
            "ipaddress",
            "ip_addr",
            "user_agent",
            "useragent",
            "device_id",
            "cookie",
        ],
    ),
    (
        Personal::Phone,
        &[
            "phone",
            "telephone",
            "tel",
            "telno",
            "mobile",
            "cellphone",
            "fax",
            "phonenumber",
            "denwa",
            "denwabangou",
            "keitai",
            "電話",
            "携帯",
            "ＴＥＬ",
        ],
    ),
    (
        Personal::OfficialNumber,
        &[
            "passport",
            "passport_no",
            "ssn",
            "my_number",
            "mynumber",
            "kojin_bangou",
            "kojinbangou",
            "licence_no",
            "license_no",
            "driver_licence",
            "driver_license",
            "tax_id",
            "national_id",
            "menkyo",
            "ryoken",
            "マイナンバー",
            "個人番号",
            "旅券",
            "免許",
            "在留カード",
            "保険証",
        ],
    ),
    (
        Personal::Card,
        &[
            "card_no",
            "card_number",
            "cardnumber",
            "card_last",
            "pan",
            "credit_card",
            "creditcard",
            "カード番号",
        ],
    ),
    (
        Personal::Bank,
        &[
            "iban",
            "account_number",
            "account_no",
            "bank_account",
            "kouza",
            "kouza_bangou",
            "口座",
        ],
    ),
    (
        Personal::Birth,
        &[
            "birth",
            "birthday",
            "birthdate",
            "birth_date",
            "date_of_birth",
            "dob",
            "born_on",
            "seinengappi",
            "tanjoubi",
            "tanjobi",
            "生年月日",
            "誕生日",
        ],
    ),
    (
        Personal::PostalCode,
        &[
            "postal_code",
            "postcode",
            "post_code",
            "zip",
            "zipcode",
            "zip_code",
            "yubin",
            "yuubin",
            "yubin_bangou",
            "yuubinbangou",
            "郵便番号",
        ],
    ),
    (
        Personal::Address,
        &[
            "address",
            "addr",
            "street",
            "city",
            "prefecture",
            "jusho",
            "juusho",
            "jyusho",
            "todofuken",
            "todoufuken",
            "住所",
            "所在地",
            "都道府県",
            "市区町村",
            "番地",
        ],
    ),
    (Personal::Gender, &["gender", "sex", "seibetsu", "性別"]),
    (
        Personal::Name,
        &[
            "full_name",
            "fullname",
            "first_name",
            "firstname",
            "last_name",
            "lastname",
            "family_name",
            "given_name",
            "middle_name",
            "surname",
            "maiden_name",
            "nickname",
            "kana",
            "furigana",
            "katakana",
            "romaji",
            "shimei",
            "simei",
            "sei_mei",
            "myouji",
            "namae",
            "payer_name",
            "contact_name",
            "billing_name",
            "holder",
            "recipient",
            "username",
            "user_name",
            "login",
            "氏名",
            "姓名",
            "名前",
            "氏",
            "フリガナ",
            "ふりがな",
            "カナ",
            "宛名",
        ],
    ),
    (
        Personal::Secret,
        &[
            "password",
            "passwd",
            "password_hash",
            "secret",
            "token",
            "api_key",
            "パスワード",
        ],
    ),
    (
        Personal::FreeText,
        &[
            "note",
            "memo",
            "comment",
            "remark",
            "body",
            "message",
            "description",
            "biko",
            "bikou",
            "備考",
            "メモ",
            "コメント",
            "自由記述",
        ],
    ),
    (Personal::PerhapsName, &["name", "mei", "sei", "姓", "名"]),
];

/// What the name of a column says.
pub(super) fn by_name(column: &str) -> Option<Personal> {
    let personal = KNOWN
        .iter()
        .find(|(_, patterns)| holds(column, patterns).is_some())
        .map(|(personal, _)| *personal)?;
    // `address_id` points at an address, and `card_type` is none.
    let last = words(column).pop();
    let about = matches!(
        last.as_deref(),
        Some("id" | "type" | "kind" | "count" | "size" | "flag" | "status")
    );
    // `name` may be a person's; `file_name` and `商品名` are not.
    let partly = personal == Personal::PerhapsName && column.chars().count() > 4;
    let sure = !about || personal == Personal::Network;
    (sure && !partly).then_some(personal)
}

impl Personal {
    /// In words.
    pub(super) fn says(self) -> &'static str {
        match self {
            Self::Email => "an e-mail address",
            Self::Phone => "a telephone number",
            Self::Name => "a name",
            Self::PostalCode => "a postal code",
            Self::Address => "an address",
            Self::Birth => "a date of birth",
            Self::Card => "a payment card",
            Self::Bank => "a bank account",
            Self::OfficialNumber => "an official number",
            Self::Gender => "a gender",
            Self::Network => "a trace in the network",
            Self::Secret => "a secret",
            Self::FreeText => "free text",
            Self::PerhapsName => "perhaps a name",
        }
    }

    /// Says something of a person whatever the table is about.
    pub(super) fn is_strong(self) -> bool {
        !matches!(
            self,
            Self::FreeText | Self::PerhapsName | Self::Secret | Self::Address
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_three_writings() {
        for (column, expected) in [
            ("email", Some(Personal::Email)),
            ("BillingEmail", Some(Personal::Email)),
            ("mail_address", Some(Personal::Email)),
            ("caller_phone", Some(Personal::Phone)),
            ("denwa", Some(Personal::Phone)),
            ("自宅電話番号", Some(Personal::Phone)),
            ("shimei", Some(Personal::Name)),
            ("氏名", Some(Personal::Name)),
            ("family_kana", Some(Personal::Name)),
            ("住所1", Some(Personal::Address)),
            ("address2", Some(Personal::Address)),
            ("ip_address", Some(Personal::Network)),
            ("juusho", Some(Personal::Address)),
            ("seinengappi", Some(Personal::Birth)),
            ("card_last4", Some(Personal::Card)),
            ("マイナンバー", Some(Personal::OfficialNumber)),
            ("name", Some(Personal::PerhapsName)),
            ("hotel", None),
            ("address_id", None),
            ("device_id", Some(Personal::Network)),
            ("email_count", None),
            ("file_name", None),
            ("商品分類名", None),
            ("名", Some(Personal::PerhapsName)),
            ("telegram_flag", None),
            ("amount", None),
            ("id", None),
            ("zipped", None),
            ("mailing_list_size", None),
        ] {
            assert_eq!(by_name(column), expected, "{column}");
        }
    }
}
