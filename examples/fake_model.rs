//! A scripted model server as a program, for demonstrations: it takes a file with a JSON list of answers (`tests/fake_model/script.rs`), prints its address and runs until it is killed.

#![expect(clippy::expect_used, clippy::indexing_slicing, reason = "a fake that cannot go on must fail loudly")]

#[path = "../tests/fake_model/mod.rs"]
#[expect(dead_code, unused_imports, reason = "tests use more of it")]
mod fake_model;

use std::error::Error;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args().nth(1).ok_or("usage: fake_model SCRIPT.json")?;
    let answers: Vec<fake_model::Answer> = serde_json::from_str(&std::fs::read_to_string(path)?)?;
    let fake = fake_model::FakeModel::start(answers).await?;
    #[expect(clippy::print_stdout, reason = "whoever starts this reads the address from here")]
    {
        println!("{}", fake.url());
    }
    std::future::pending::<()>().await;
    Ok(())
}
