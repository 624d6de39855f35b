//! Limits really limit, and the final says what kept them.

use std::os::unix::fs::chown;

use serde_json::{Value, json};

use super::{outside_of_tmp, ran};
use crate::harness::{Client, Gateway};

fn limited(sandbox: &Value, limits: &Value) -> Gateway {
    let patch = json!({ "agents": { "defaults": { "sandbox": sandbox, "limits": limits } } });
    let mut gateway = Gateway::prepared_in(&outside_of_tmp(), &patch);
    gateway.launch();
    gateway
}

#[tokio::test]
async fn memory_files_and_processor_time_are_limited_without_isolation_too() {
    let limits = json!({ "memoryBytes": 134_217_728, "fileSizeBytes": 1_048_576, "openFiles": 32, "cpuSeconds": 1, "oomScoreAdj": 700 });
    let gateway = limited(&json!({}), &limits);
    let mut client = Client::connect(&gateway).await;
    // `tail` keeps a line without an end in memory.
    let (small, _) = ran(&mut client, "head -c 20M /dev/zero | tail -n 1 | wc -c").await;
    assert_eq!(small["status"], "ok");
    let (large, text) = ran(&mut client, "set -o pipefail; head -c 400M /dev/zero | tail -n 1 | wc -c").await;
    assert_eq!(large["status"], "error", "{text}");
    assert!(text.contains("memory exhausted"), "{text}");
    assert!(large["peakRssBytes"].as_u64().unwrap() <= 134_217_728, "{large}");
    let (_, text) = ran(&mut client, "head -c 5M /dev/zero > big; stat -c %s big").await;
    // The shell says on its other pipe that the signal came, and either may be read first.
    assert!(text.lines().any(|line| line == "1048576"), "{text}");
    let (_, text) = ran(&mut client, "ulimit -n; ulimit -Hn; cat /proc/self/oom_score_adj").await;
    assert_eq!(text, "32\n32\n700\n");
    let (spun, _) = ran(&mut client, "while :; do :; done").await;
    assert!(spun["signal"] == "SIGXCPU" || spun["signal"] == "SIGKILL", "{spun}");
    assert_eq!(spun["limits"]["applied"], "rlimits", "{spun}");
    assert!(spun["limits"].get("missing").is_none() && spun.get("oomKilled").is_none(), "{spun}");
}

#[tokio::test]
async fn what_only_a_control_group_could_keep_is_named_in_the_final() {
    let gateway = limited(&json!({}), &json!({ "cpuPercent": 50, "ioWeight": 10, "openFiles": 64 }));
    let mut client = Client::connect(&gateway).await;
    let (result, _) = ran(&mut client, "true").await;
    match result["limits"]["applied"].as_str() {
        Some("cgroup") => assert!(result["limits"]["memoryPeakBytes"].is_u64(), "{result}"),
        applied => assert_eq!((applied, &result["limits"]["missing"]), (Some("rlimits"), &json!(["cpuPercent", "ioWeight"]))),
    }
}

#[tokio::test]
async fn limits_hold_inside_a_namespace() {
    let Some(gateway) = super::isolated(
        &json!({ "level": "strict" }),
        &json!({ "agents": { "defaults": { "limits": { "memoryBytes": 134_217_728, "oomScoreAdj": 700 } } } }),
    ) else {
        return;
    };
    let mut client = Client::connect(&gateway).await;
    let (large, text) = ran(&mut client, "cat /proc/self/oom_score_adj; set -o pipefail; head -c 400M /dev/zero | tail -n 1 | wc -c").await;
    assert_eq!((large["status"].as_str(), large["limits"]["applied"].as_str()), (Some("error"), Some("rlimits")), "{text}");
    assert!(text.starts_with("700\n") && text.contains("memory exhausted"), "{text}");
}

/// The kernel does not count the processes of root, so this gateway is somebody else's.
#[tokio::test]
async fn m75_a_fork_bomb_meets_its_cap_and_all_of_it_goes() {
    const NOBODY: u32 = 65534;
    if !rustix::process::getuid().is_root() {
        return crate::nginx::skip("needs root, to start a gateway as another user");
    }
    for level in ["off", "strict"] {
        let patch = json!({ "agents": { "defaults": {
            "sandbox": { "level": level }, "limits": { "tasks": 24 }, "timeoutSeconds": 20,
        } } });
        // A place that another user can reach, whatever the build's own is.
        let base = if level == "off" { std::env::temp_dir() } else { std::path::PathBuf::from("/var/tmp") };
        let mut gateway = Gateway::prepared_in(&base, &patch);
        let program = gateway.state_dir().join("program");
        crate::executable::write(&program, &std::fs::read(env!("CARGO_BIN_EXE_skykoi-gateway")).unwrap());
        for path in [gateway.state_dir().to_owned(), gateway.config_path(), program.clone()] {
            chown(&path, Some(NOBODY), Some(NOBODY)).unwrap();
        }
        let script = format!("shift; exec setpriv --reuid={NOBODY} --regid={NOBODY} --clear-groups {} \"$@\"", program.display());
        gateway.wrapper(&["/bin/sh", "-c", &script, "sh"]);
        if gateway.try_launch().is_err() {
            let log = gateway.log();
            assert!(level == "strict" && log.contains("cannot be given by this machine"), "{log}");
            crate::nginx::skip("no user namespaces for ordinary users here");
            continue;
        }
        let mut client = Client::connect(&gateway).await;
        let bomb = "bomb() { bomb | bomb & }; bomb; for i in 1 2 3 4 5 6 7 8 9 10; do sleep 0.05; done; echo lived";
        let (result, text) = ran(&mut client, &format!("({bomb}) 2>&1; exit 0")).await;
        assert!(text.contains("fork: ") || text.contains("Resource temporarily unavailable"), "{level}: {result} {text}");
        assert!(result["limits"].get("missing").is_none(), "{result}");
        gateway.is_clean().await;
    }
}
