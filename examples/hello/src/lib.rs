#[pb_client::remote_interface]
pub trait Greeter {
    async fn greet(&self, name: String) -> String;
}
