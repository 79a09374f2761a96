//! Filling a batch with what is about to arrive.

use tokio::sync::mpsc;

/// Adds what arrives while whatever else is ready to run on this node has its turn, so many times: on a
/// busy node most of that brings something, on an idle one it takes a microsecond.
pub(crate) async fn top_up<T>(
    batch: &mut Vec<T>,
    queue: &mut mpsc::UnboundedReceiver<T>,
    limit: usize,
    turns: usize,
) {
    for _ in 0..turns {
        tokio::task::yield_now().await;
        while batch.len() < limit
            && let Ok(one) = queue.try_recv()
        {
            batch.push(one);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_batch_takes_along_what_arrives_in_its_turns_up_to_its_limit() {
        let (sender, mut queue) = mpsc::unbounded_channel();
        // Each runs when the others let it.
        tokio::spawn(async move {
            for number in 1.. {
                if sender.send(number).is_err() {
                    return;
                }
                tokio::task::yield_now().await;
            }
        });
        let mut batch = vec![0];
        top_up(&mut batch, &mut queue, 9, 3).await;
        assert_eq!(batch, [0, 1, 2, 3]);
        top_up(&mut batch, &mut queue, 5, 3).await;
        assert_eq!(batch, [0, 1, 2, 3, 4]);
    }
}
