//! The log as its callers see it.

use std::sync::atomic::{AtomicU64, Ordering};

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_answered_before_his_record_is_on_disk() {
    let home = tempfile::tempdir().unwrap();
    let audit = Audit::start(home.path().join("audit"), NodeId(1), || 7).unwrap();
    let (audit, answered) = (Arc::new(audit), Arc::new(AtomicU64::new(0)));
    let callers = (0..8).map(|caller| {
        let (audit, answered) = (audit.clone(), answered.clone());
        tokio::spawn(async move {
            let heads = audit.heads();
            for _ in 0..25 {
                let entry = Entry::by(format!("client/{caller}"), "holdfast.v1.Secrets/Reveal");
                audit.record(entry).await.unwrap();
                let answered = answered.fetch_add(1, Ordering::SeqCst) + 1;
                // The head moves when a sync is through.
                assert!(heads.borrow().sequence >= answered);
            }
        })
    });
    for caller in callers.collect::<Vec<_>>() {
        caller.await.unwrap();
    }
    assert_eq!(audit.heads().borrow().sequence, 200);
    audit.end().await;
    let refused = audit.record(Entry::by("client/late", "act")).await;
    assert_eq!(refused.unwrap_err().code(), tonic::Code::Unavailable);
}

#[test]
fn of_a_flood_of_denied_attempts_some_are_recorded_and_the_others_counted() {
    let start = Instant::now();
    let mut denied = Denied::new(start);
    let recorded = (0..100).filter(|_| denied.let_one(start).is_some()).count();
    assert_eq!(recorded, DENIED_A_SECOND as usize);
    let later = start + Duration::from_secs(1);
    assert_eq!(
        denied.let_one(later),
        Some(100 - u64::from(DENIED_A_SECOND))
    );
    assert_eq!(denied.let_one(later), Some(0));
}
