use pb_core::remote_interface;

#[remote_interface]
trait Bank {
    #[remote(idempotent, run_to_end)]
    async fn count(&self) -> u64;
}

fn main() {}
