//! A client's side: an object that works.

use pb_client::Referenceable;
use tokio::task::spawn_blocking;

use super::{Job, JobError, MOST_BELOW, ProgressRef, Worker};

/// Counts primes.
#[derive(Referenceable)]
pub struct Primes;

impl Worker for Primes {
    async fn work(&self, job: Job, progress: ProgressRef) -> Result<u64, JobError> {
        let Job { below } = job;
        if below > MOST_BELOW {
            return Err(JobError::TooLarge { below });
        }
        let mut count = 0;
        for tenth in 0..10 {
            // A method that computed here would hold up everything else of its connection. Where the call is
            // cancelled, this is where it ends: behind the tenth that runs.
            let part = below * tenth / 10..below * (tenth + 1) / 10;
            count += spawn_blocking(move || part.filter(|&n| is_prime(n)).count() as u64)
                .await
                .map_err(|error| JobError::Failed(error.to_string()))?;
            progress.reached(tenth as u8 * 10 + 10);
        }
        Ok(count)
    }
}

fn is_prime(n: u64) -> bool {
    n > 1 && (2..).take_while(|d| d * d <= n).all(|d| !n.is_multiple_of(d))
}
