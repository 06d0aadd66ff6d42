use pb_core::remote_interface;

trait Watcher: Send + Sync {}

#[remote_interface]
trait Store {
    async fn watch(&self, watcher: Box<dyn Watcher>);
}

fn main() {}
