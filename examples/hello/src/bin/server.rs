#[derive(pb_server::Referenceable)]
struct Hello;

impl hello::Greeter for Hello {
    async fn greet(&self, name: String) -> String {
        format!("Hello, {name}!")
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = hello::GreeterRef::new(Hello);
    Ok(pb_server::Server::new(root).listen("tcp://127.0.0.1:8787").await?.run().await?)
}
