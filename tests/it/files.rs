//! What clients can reach of the file system through the methods, and what happens to files that they send.

use std::os::unix::fs::symlink;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustix::fs::{FileType, Mode};
use serde_json::{Value, json};

use crate::harness::{Client, Gateway};

/// Nothing of what is asked here may take longer, whatever stands at the path.
const PATIENCE: Duration = Duration::from_secs(30);

async fn get(client: &mut Client, name: &str) -> Value {
    client.call("agents.files.get", json!({ "agentId": "main", "name": name })).await
}

async fn set(client: &mut Client, name: &str) -> Value {
    client.call("agents.files.set", json!({ "agentId": "main", "name": name, "content": "changed" })).await
}

#[tokio::test]
async fn m80_only_names_of_the_table_are_files_however_they_are_spelled() {
    let gateway = Gateway::start();
    std::fs::write(gateway.state_dir().join("SOUL.md"), "private").unwrap();
    let mut client = Client::connect(&gateway).await;
    let absolute = gateway.config_path().display().to_string();
    let long = "a/".repeat(3000);
    let names = [
        "../SOUL.md",
        "./SOUL.md",
        "work/../SOUL.md",
        "/etc/passwd",
        &absolute,
        "%2e%2e/SOUL.md",
        "..%2fSOUL.md",
        "%252e%252e%252fSOUL.md",
        "..\\SOUL.md",
        "SOUL.md/",
        "SOUL.md\u{0}",
        "\u{0}",
        "soul.MD",
        "S\u{41e}UL.md",
        "../../../../proc/self/mem",
        "/proc/self/mem",
        "/dev/zero",
        "~",
        "*",
        &long,
    ];
    for name in names {
        for answer in [get(&mut client, name).await, set(&mut client, name).await] {
            assert_eq!((&answer["ok"], &answer["error"]["code"]), (&json!(false), &json!("INVALID_REQUEST")), "{name:?}: {answer}");
            assert!(!answer.to_string().contains("private"), "{name:?}");
        }
    }
    assert_eq!(std::fs::read_to_string(gateway.state_dir().join("SOUL.md")).unwrap(), "private");
}

#[tokio::test]
async fn m80_what_is_no_plain_file_with_one_name_is_refused_at_once() {
    let gateway = Gateway::start();
    let work = gateway.state_dir().join("work");
    std::fs::create_dir_all(work.join("USER.md")).unwrap();
    let secret = gateway.state_dir().join("secret");
    std::fs::write(&secret, "private").unwrap();
    symlink(&secret, work.join("SOUL.md")).unwrap();
    std::fs::hard_link(&secret, work.join("TOOLS.md")).unwrap();
    symlink("/proc/self/mem", work.join("HEARTBEAT.md")).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, work.join("AGENTS.md"), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    // Ten gigabytes that take no room.
    std::fs::File::create(work.join("BOOTSTRAP.md")).unwrap().set_len(10 << 30).unwrap();
    let mut client = Client::connect(&gateway).await;
    let began = Instant::now();
    for name in ["USER.md", "SOUL.md", "TOOLS.md", "HEARTBEAT.md", "AGENTS.md", "BOOTSTRAP.md"] {
        let answer = get(&mut client, name).await;
        assert_eq!((&answer["ok"], &answer["error"]["details"]["code"]), (&json!(false), &json!("FILE_REFUSED")), "{name}: {answer}");
        if name != "BOOTSTRAP.md" {
            let answer = set(&mut client, name).await;
            assert_eq!((&answer["ok"], &answer["error"]["details"]["code"]), (&json!(false), &json!("FILE_REFUSED")), "{name}: {answer}");
        }
    }
    assert!(began.elapsed() < PATIENCE, "{:?}", began.elapsed());
    assert_eq!(std::fs::read_to_string(&secret).unwrap(), "private");
}

/// One entry of a tar archive: its name, its kind, where a link of it leads, and its bytes.
fn entry(name: &str, kind: u8, link: &str, bytes: &[u8]) -> Vec<u8> {
    let mut head = vec![0; 512];
    head[..name.len()].copy_from_slice(name.as_bytes());
    head[100..108].copy_from_slice(b"0000644\0");
    head[124..136].copy_from_slice(format!("{:011o}\0", bytes.len()).as_bytes());
    head[148..156].fill(b' ');
    head[156] = kind;
    head[157..157 + link.len()].copy_from_slice(link.as_bytes());
    head[257..265].copy_from_slice(b"ustar\x0000");
    let sum: u32 = head.iter().map(|byte| u32::from(*byte)).sum();
    head[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let padding = vec![0; bytes.len().next_multiple_of(512) - bytes.len()];
    [head, bytes.to_vec(), padding].concat()
}

#[tokio::test]
async fn m81_an_archive_is_kept_as_the_bytes_it_is_and_nothing_of_it_gets_anywhere() {
    let gateway = Gateway::start();
    let mut client = Client::connect(&gateway).await;
    let outside = gateway.state_dir().join("escaped");
    let entries = [
        entry("../escaped", b'0', "", b"x"),
        entry(outside.to_str().unwrap(), b'0', "", b"x"),
        entry("link", b'2', gateway.state_dir().to_str().unwrap(), b""),
        entry("link/escaped", b'0', "", b"x"),
        entry("hard", b'1', "../skykoi.json", b""),
        entry("SOUL.md", b'0', "", b"x"),
        entry("SOUL.md", b'0', "", b"y"),
        vec![0; 1024],
    ];
    let archive = entries.concat();
    for name in ["a.tar", "../../a.tar", "a.tgz", "a.zip", "a.tar.zst"] {
        let file = json!({ "type": "file", "fileName": name, "content": STANDARD.encode(&archive) });
        let (id, ack) = client.agent(json!({ "message": "cat \"$SKYKOI_ATTACHMENT_1\" | cksum; ls -A", "attachments": [file] })).await;
        let last = client.response(&id).await;
        assert_eq!(last["payload"]["status"], "ok", "{last}");
        let text = client.runs[ack["runId"].as_str().unwrap()].text();
        assert!(text.lines().next().unwrap().ends_with(&format!(" {}", archive.len())), "{name}: {text}");
        assert!(!text.contains("SOUL.md") && !text.contains("escaped"), "{name}: {text}");
    }
    assert!(!outside.exists() && !gateway.state_dir().parent().unwrap().join("escaped").exists());
    let media: Vec<_> = std::fs::read_dir(gateway.state_dir().join("media")).unwrap().flatten().collect();
    assert_eq!(media.len(), 1, "one content, whatever it is called: {media:?}");
}

#[test]
fn m81_nothing_of_ours_or_of_others_can_unpack_an_archive() {
    let lock = include_str!("../../Cargo.lock");
    for name in
        ["tar", "zip", "async-tar", "tokio-tar", "astral-tokio-tar", "flate2", "zstd", "sevenz-rust", "unrar", "async_zip", "libarchive2"]
    {
        assert!(!lock.contains(&format!("name = \"{name}\"\n")), "{name}: see row M81 and the bans in deny.toml");
    }
}
