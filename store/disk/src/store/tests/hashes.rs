//! Hashes of the state that nodes compare.

use super::*;

#[test]
fn nodes_with_other_batches_have_the_milestones_and_the_end_in_common() {
    let put = |number| put("key", format!("value {number}"));
    let hashes = [1, 7, 300].map(|batch| {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path());
        for from in (1..=300).step_by(batch) {
            let upto = 300.min(from + batch as u64 - 1);
            apply(&store, from, (from..=upto).map(put));
        }
        [256, 300].map(|index| store.hash_at(index))
    });
    assert!(hashes[0].iter().all(Option::is_some));
    assert_eq!(hashes, [hashes[0]; 3]);
}
