//! The next rows of a passage: all in one go where that is possible, told one from the other where it is not.

use super::{LastWord, NotErased, Passage, Stopped, fewest_in_time, subject};
use crate::system::postgres::execute::Went;
use crate::system::postgres::label::Labelled;
use uuid::Uuid;

/// What became of the next rows.
enum Stretched {
    /// There are none.
    Over,
    /// They have gone in one go.
    Went(Went),
    /// They must be told one from the other.
    ByRow,
}

impl Passage<'_> {
    /// Lets the next rows go, those after `behind`, which comes to be the place of the last of them. Whether
    /// there were any.
    pub(super) async fn advance(
        &mut self,
        behind: &mut Option<Vec<String>>,
        size: u64,
    ) -> Result<bool, Stopped> {
        match self.stretch(behind.as_deref(), size).await? {
            Stretched::Over => return Ok(false),
            Stretched::Went(went) => {
                self.add(&went.counts);
                if went.last.is_some() {
                    *behind = went.last;
                }
                return Ok(true);
            }
            Stretched::ByRow => {}
        }
        let rows = self.next(behind.as_deref(), size).await?;
        let Some(last) = rows.last() else {
            return Ok(false);
        };
        *behind = Some(last.place.clone());
        self.batch(rows).await?;
        Ok(true)
    }

    async fn stretch(&self, behind: Option<&[String]>, size: u64) -> Result<Stretched, Stopped> {
        let step = Uuid::now_v7();
        let mut tries = 0;
        loop {
            match self.stretch_once(step, behind, size).await {
                Ok(stretched) => return Ok(stretched),
                // Where one of the rows keeps the others from going, it must be found; what takes too long is
                // tried with fewer.
                Err(error) if fewest_in_time(&error).is_some() => return Ok(Stretched::ByRow),
                Err(error) => {
                    if self.judge(error, &mut tries).await?.is_some() {
                        return Ok(Stretched::ByRow);
                    }
                }
            }
        }
    }

    async fn stretch_once(
        &self,
        step: Uuid,
        behind: Option<&[String]>,
        size: u64,
    ) -> Result<Stretched, NotErased> {
        let gate = self.gate().await?;
        let people = self.prepared.people(self.context).await?;
        let held = gate.rows.clone();
        // Whose a row is would have to be asked of each.
        let nobody = people.held.hashes.is_empty();
        let (Some(part), Some(stretch), true) = (self.part(), self.prepared.stretch(&held), nobody)
        else {
            return Ok(Stretched::ByRow);
        };
        let client = self.prepared.client(self.context).await?;
        let mut session = Labelled::new(client, &self.progress().label(self.new.rule)).await?;
        let subjects = [subject(step, &[])];
        let hash = |text: &str| self.context.hash_key.hash("column", text);
        let execution = self.execution(part, &held, &subjects, &hash);
        let mut word = LastWord {
            taking: None,
            passage: self,
            gate,
            people,
        };
        let went = execution
            .stretch(session.client(), &stretch, behind, size, &mut word)
            .await;
        session.done().await;
        let went = word.heard(went).await?;
        Ok(went.map_or(Stretched::Over, Stretched::Went))
    }
}
