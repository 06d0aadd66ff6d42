#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let broker = pb_client::connect("tcp://127.0.0.1:8787").await?;
    println!("{}", broker.root::<hello::GreeterRef>().greet("world".into()).await?);
    Ok(())
}
