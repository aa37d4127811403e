//! Legal bases for keeping, by code.
//!
//! The list comes from `../shared/law.md`, section 3, compiled from public pages in November
//! 2026. It is no legal advice: **counsel should confirm a basis before a policy relies on it**,
//! above all those below [`Confidence::Sure`]. A basis covers named fields, not the whole
//! customer; the dates are computed from the policy's own `until`, never from this list.

/// How sure the compilers are of a basis.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Confidence {
    /// The wording was seen in the law or on a page that quotes it.
    Sure,
    /// Secondary sources agree; to be confirmed.
    Likely,
}

/// One rule that makes a company keep something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Basis {
    /// As a policy writes it in `because`.
    pub code: &'static str,
    /// Citation, in Japanese.
    pub ja: &'static str,
    /// Citation, in English.
    pub en: &'static str,
    /// How long, counted from when.
    pub period: &'static str,
    /// How sure this is.
    pub confidence: Confidence,
}

const fn basis(
    code: &'static str,
    ja: &'static str,
    en: &'static str,
    period: &'static str,
    confidence: Confidence,
) -> Basis {
    Basis {
        code,
        ja,
        en,
        period,
        confidence,
    }
}

use Confidence::{Likely, Sure};

/// Every basis known by code; counsel should confirm.
#[rustfmt::skip]
pub const KNOWN: &[Basis] = &[
    basis("jp-ctax-7", "法人税法126条・150条の2、同施行規則59条・67条", "Corporation Tax Act (JP) Art. 126, 150-2; Ordinance Art. 59, 67", "7 years from the day after the return's filing deadline", Sure),
    basis("jp-ctax-loss-10", "法人税法施行規則26条の3", "Corporation Tax Act Ordinance (JP) Art. 26-3 (loss years)", "10 years from the day after the return's filing deadline", Sure),
    basis("jp-vat-7", "消費税法30条7項・57条の4第6項、同施行令50条・70条の13", "Consumption Tax Act (JP) Art. 30(7), 57-4(6); Order Art. 50, 70-13", "7 years from two months after the day following the end of the tax period", Sure),
    basis("jp-edoc", "電子帳簿保存法7条", "Electronic Books Preservation Act (JP) Art. 7", "as the tax books", Sure),
    basis("jp-co-10", "会社法432条2項・435条4項", "Companies Act (JP) Art. 432(2), 435(4)", "10 years from the closing of the books", Sure),
    basis("jp-travel-web-2", "旅行業者等が旅行者と締結する契約等に関する規則6条2項2号", "Travel contract rules (JP) Art. 6(2)(ii)", "2 years from the day after the trip's end", Likely),
    basis("jp-travel-claim-2", "標準旅行業約款(損害賠償の通知期間)", "Standard travel terms (JP), claims notice window (contractual)", "2 years from the day after the damage", Likely),
    basis("jp-lodging-3", "旅館業法6条、同施行規則", "Hotel Business Act (JP) Art. 6 (hotels only)", "3 years", Likely),
    basis("jp-claim-5", "民法166条1項", "Civil Code (JP) Art. 166(1)", "5 years from knowledge, 10 years at most", Sure),
    basis("jp-tort", "民法724条・724条の2", "Civil Code (JP) Art. 724, 724-2", "3 years (5 for life and body) from knowledge, 20 years at most", Sure),
    basis("jp-labour", "労働基準法109条・143条", "Labour Standards Act (JP) Art. 109, 143", "5 years, for now 3", Sure),
    basis("jp-aml-7", "犯罪収益移転防止法6条・7条", "Act on Prevention of Transfer of Criminal Proceeds (JP) Art. 6, 7 (listed businesses)", "7 years", Likely),
    basis("jp-secondhand-3", "古物営業法18条", "Secondhand Articles Dealer Act (JP) Art. 18", "3 years", Likely),
    basis("jp-3p-record", "個人情報保護法29条・30条", "APPI (JP) Art. 29, 30, third-party provision records", "3 years (some 1 year)", Likely),
    basis("de-books-10", "ドイツ商法典257条・租税通則法147条(帳簿)", "HGB s. 257, AO s. 147 (DE), books", "10 years from the end of the calendar year", Sure),
    basis("de-vouchers-8", "ドイツ商法典257条・租税通則法147条・売上税法14b条(証憑・請求書)", "HGB s. 257, AO s. 147, UStG s. 14b (DE), vouchers and invoices", "8 years from the end of the calendar year", Sure),
    basis("de-letters-6", "ドイツ商法典257条・租税通則法147条(商業書簡)", "HGB s. 257, AO s. 147 (DE), letters", "6 years from the end of the calendar year", Sure),
    basis("eu-oss-10", "EU規則282/2011 63c条、VAT指令369条・369x条", "Reg. (EU) 282/2011 Art. 63c; VAT Directive Art. 369, 369x", "10 years from the end of the year of the transaction", Sure),
    basis("fr-10", "フランス商法典L123-22条", "Code de commerce (FR) L123-22", "10 years", Likely),
    basis("it-10", "イタリア民法典2220条", "Codice civile (IT) Art. 2220", "10 years", Likely),
    basis("nl-7", "オランダ租税通則法52条", "AWR (NL) Art. 52", "7 years", Likely),
    basis("es-6", "スペイン商法典30条", "Código de Comercio (ES) Art. 30", "6 years", Likely),
    basis("at-7", "オーストリア連邦公課法132条", "BAO (AT) s. 132", "7 years", Likely),
    basis("uk-6", "英国VAT法1994・出訴期限法", "VATA 1994, Limitation Act (UK)", "6 years", Likely),
    basis("eu-travel-2", "EU指令2015/2302 14条6項", "Dir. (EU) 2015/2302 Art. 14(6), package travel claims", "at least 2 years", Likely),
    basis("eu-aml-5", "EU資金洗浄防止指令40条", "AMLD (EU) Art. 40 (obliged entities)", "5 years", Likely),
    basis("in-log-1", "インドDPDP規則8条3項", "DPDP Rules (IN) r. 8(3), data and logs", "at least 1 year (from 2027)", Likely),
];

/// The basis with this code.
pub fn find(code: &str) -> Option<&'static Basis> {
    KNOWN.iter().find(|basis| basis.code == code)
}

/// Whether a `because` reads like a code and not like words: a code nobody knows is a typo,
/// words are the policy's own reason.
pub fn looks_like_code(because: &str) -> bool {
    because
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_codes_and_stand_once() {
        for (at, basis) in KNOWN.iter().enumerate() {
            assert!(looks_like_code(basis.code), "{}", basis.code);
            assert!(
                KNOWN[at + 1..].iter().all(|other| other.code != basis.code),
                "{}",
                basis.code
            );
        }
        assert!(!looks_like_code("Privacy policy s. 4.2"));
        assert!(!looks_like_code("社内規程による"));
    }
}
