//! Values of any type, carried as the server sent them and sent back unchanged: keys are
//! captured and bound again without ever being understood.

use bytes::{BufMut, BytesMut};
use postgres_types::{Format, FromSql, IsNull, Kind, ToSql, Type, to_sql_checked};
use std::error::Error;

/// The binary form of one value.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Raw(pub Option<Box<[u8]>>);

/// Values may be personal: they are never shown.
impl std::fmt::Debug for Raw {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("…")
    }
}

impl<'a> FromSql<'a> for Raw {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        Ok(Self(Some(raw.into())))
    }

    fn from_sql_null(_: &Type) -> Result<Self, Box<dyn Error + Sync + Send>> {
        Ok(Self(None))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

/// A value that the server reads from its text, as whatever type the statement asks for.
pub struct AsText<'a>(pub &'a str);

/// Values may be personal: they are never shown.
impl std::fmt::Debug for AsText<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("…")
    }
}

impl ToSql for AsText<'_> {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        out.put_slice(self.0.as_bytes());
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    fn encode_format(&self, _: &Type) -> Format {
        Format::Text
    }

    to_sql_checked!();
}

/// A one-dimensional array of [`Raw`] values of whatever element type the statement asks for.
pub struct RawArray<'a>(pub Vec<&'a Raw>);

impl std::fmt::Debug for RawArray<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "[…; {}]", self.0.len())
    }
}

impl ToSql for RawArray<'_> {
    fn to_sql(
        &self,
        ty: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        let Kind::Array(element) = ty.kind() else {
            return Err(format!("{ty} is not an array type").into());
        };
        let has_null = self.0.iter().any(|v| v.0.is_none());
        out.put_i32(i32::from(!self.0.is_empty()));
        out.put_i32(i32::from(has_null));
        out.put_u32(element.oid());
        if self.0.is_empty() {
            return Ok(IsNull::No);
        }
        out.put_i32(i32::try_from(self.0.len())?);
        out.put_i32(1);
        for value in &self.0 {
            match &value.0 {
                Some(bytes) => {
                    out.put_i32(i32::try_from(bytes.len())?);
                    out.put_slice(bytes);
                }
                None => out.put_i32(-1),
            }
        }
        Ok(IsNull::No)
    }

    fn accepts(ty: &Type) -> bool {
        matches!(ty.kind(), Kind::Array(_))
    }

    to_sql_checked!();
}

impl Raw {
    /// A `timestamptz` as the server sends it: microseconds since 2000-01-01 UTC. `None` for
    /// NULL and for the infinities.
    pub fn timestamp(&self) -> Option<chrono::DateTime<chrono::Utc>> {
        let micros = i64::from_be_bytes(self.0.as_deref()?.try_into().ok()?);
        if micros == i64::MAX || micros == i64::MIN {
            return None;
        }
        chrono::DateTime::from_timestamp_micros(micros.checked_add(946_684_800_000_000)?)
    }

    /// The value as UTF-8 text, for text-like types.
    pub fn text(&self) -> Option<&str> {
        std::str::from_utf8(self.0.as_deref()?).ok()
    }
}
