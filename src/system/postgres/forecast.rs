//! Reads what of a table comes due when, and how large it is.

use super::due::{begin, query};
use super::execute::{NotErased, Timeouts};
use crate::lineage::Due;
use crate::plan::DueRows;
use deadpool_postgres::Client;

/// A table with more rows than this is read in part.
pub const READ_WHOLE: i64 = 1_000_000;

/// What was counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// Rows that come due at each stage and not before.
    pub stages: Vec<i64>,
    /// All rows of the table.
    pub rows: i64,
    /// Only one in so many of its blocks was read, and the numbers are multiplied by it.
    pub one_in: Option<u32>,
    /// What the table takes up with its indexes.
    pub bytes: i64,
}

/// Counts the rows by the first of these stages at which they are due.
///
/// # Errors
/// [`NotErased::Database`].
pub async fn count(
    client: &mut Client,
    rows: &DueRows<'_>,
    stages: &[Vec<Due>],
    exact: bool,
    timeouts: Timeouts,
) -> Result<Counted, NotErased> {
    let tx = begin(client, timeouts).await?;
    let size = query(&tx, &rows.size(), &[]).await?;
    let number = |at| size.first().map_or(0, |row| row.get::<_, i64>(at));
    let one_in = if exact { None } else { part(number(0)) };
    let found = query(&tx, &rows.comes_due(stages, one_in), &[]).await?;
    tx.rollback().await?;
    let mut counted = Counted {
        stages: vec![0; stages.len()],
        rows: 0,
        one_in,
        bytes: number(1),
    };
    for row in found {
        let rows = row
            .get::<_, i64>(1)
            .saturating_mul(one_in.unwrap_or(1).into());
        counted.rows += rows;
        let stage = row
            .get::<_, Option<i32>>(0)
            .and_then(|n| usize::try_from(n).ok());
        if let Some(of) = stage.and_then(|stage| counted.stages.get_mut(stage)) {
            *of += rows;
        }
    }
    Ok(counted)
}

/// In how many parts a table is thought, of which one is read; `None` for all of it.
fn part(rows: i64) -> Option<u32> {
    (rows > READ_WHOLE).then(|| u32::try_from(rows / READ_WHOLE + 1).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn about_a_million_rows_are_read() {
        assert_eq!(part(0), None);
        assert_eq!(part(READ_WHOLE), None);
        assert_eq!(part(READ_WHOLE + 1), Some(2));
        assert_eq!(part(10 * READ_WHOLE), Some(11));
    }
}
