//! What an approver is told of the rows, and types back.

use super::{CANARY, Days, Level, offer, resolved, submit};
use crate::server::Database;
use erasured::store::forecast::{Forecast, Typed};

fn counted(rows: i64, salt: &str) -> Forecast {
    let typed = Typed {
        named_by: "member_no".into(),
        salt: salt.into(),
        digest: "b".repeat(64),
    };
    Forecast {
        rows: Some(rows),
        typed: Some(typed),
    }
}

/// The policy comes to ask while the ticket waits; two daemons count, and the second changes nothing of
/// what whoever approves has been asked already.
#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_that_waits_is_counted_and_once() {
    let db = Database::new().await;
    let owner = db.store("owner");
    let daemon = db.store(&db.login("daemon", "erasured_daemon").await);
    let mut offered = offer("account", false, Level::Basic);
    offered.cooling_off = Days::days(3);
    daemon.publish_scopes(&[offered.clone()]).await.unwrap();
    let id = submit(&owner, "R", CANARY).await.unwrap();
    owner.verify(id, "callback", None, None).await.unwrap();
    daemon.resolve(&[resolved(id)]).await.unwrap();
    assert!(daemon.uncounted(9).await.unwrap().is_empty());

    offered.confirm_over = Some(5);
    daemon.publish_scopes(&[offered.clone()]).await.unwrap();
    let waits: Vec<_> = daemon.uncounted(9).await.unwrap();
    assert_eq!(waits.iter().map(|t| t.id).collect::<Vec<_>>(), [id]);
    daemon.foretell(id, &counted(7, "first")).await.unwrap();
    daemon.foretell(id, &counted(9, "second")).await.unwrap();
    let asked = owner.approval(id).await.unwrap().unwrap();
    assert_eq!(asked.rows, Some(7));
    assert_eq!(asked.named_by, Some(("member_no".into(), "first".into())));
    // Again into force: nobody counts again, and nothing is left of it after the approval.
    daemon.publish_scopes(&[offered.clone()]).await.unwrap();
    assert!(daemon.uncounted(9).await.unwrap().is_empty());
    owner.approve(id, None).await.unwrap();
    daemon.publish_scopes(&[offered]).await.unwrap();
    assert!(daemon.uncounted(9).await.unwrap().is_empty());
}
