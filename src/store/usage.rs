//! What runs have used: sums over the runs that ended in a span of time.

use rusqlite::types::Value;
use rusqlite::{Connection, Row, params_from_iter};

use super::error::StoreError;
use super::op::{Found, Query};
use super::sql_read::ms;
use super::{Store, mismatch};
use crate::protocol::ids::{AgentId, SessionKey};
use crate::protocol::usage::{TokenCost, TokenUsage};

/// Which runs are added up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageFilter {
    /// Ended at or after this time, ms since the epoch.
    pub from: u64,
    /// Ended before this time.
    pub to: u64,
    /// Only of this session.
    pub session: Option<SessionKey>,
    /// A sum for each session, the one whose run ended last first; else one for all.
    pub by_session: bool,
}

/// Sums over runs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct UsageSum {
    /// Their session; of a sum over all, none.
    pub session: Option<(SessionKey, AgentId)>,
    /// How many runs ended.
    pub runs: u64,
    /// How many of them did not end well.
    pub failed: u64,
    /// How many were commands of the shell runner.
    pub commands: u64,
    /// How long they worked, ms.
    pub duration_ms: u64,
    /// Processor time that they used, ms.
    pub cpu_ms: u64,
    /// Bytes that they printed.
    pub output_bytes: u64,
    /// Tokens of their models, and what those cost as far as prices are known.
    pub tokens: TokenUsage,
    /// How many runs asked models whose price is not known.
    pub unpriced: u64,
    /// When the first of them ended, ms since the epoch; 0 = there is none.
    pub first_at: u64,
    /// When the last of them ended.
    pub last_at: u64,
}

impl UsageSum {
    /// Adds another sum to this one.
    pub fn add(&mut self, other: &Self) {
        self.runs += other.runs;
        self.failed += other.failed;
        self.commands += other.commands;
        self.duration_ms += other.duration_ms;
        self.cpu_ms += other.cpu_ms;
        self.output_bytes += other.output_bytes;
        self.tokens.add(&other.tokens);
        self.unpriced += other.unpriced;
        self.first_at = if self.first_at == 0 { other.first_at } else { self.first_at.min(other.first_at) };
        self.last_at = self.last_at.max(other.last_at);
    }
}

impl Store {
    /// Sums over the runs that a filter lets through; without `by_session` exactly one.
    ///
    /// # Errors
    /// See [`Self::run`].
    pub async fn usage(&self, filter: UsageFilter) -> Result<Vec<UsageSum>, StoreError> {
        match self.ask(Query::Usage(filter)).await? {
            Found::Usage(sums) => Ok(sums),
            other => Err(mismatch(&other)),
        }
    }
}

/// Columns of sums over tokens, with their keys in an outcome's usage.
const TOKENS: [(&str, &str); 4] =
    [("input_tokens", "input"), ("output_tokens", "output"), ("cache_read_tokens", "cacheRead"), ("cache_write_tokens", "cacheWrite")];
/// Columns of sums over costs, with their keys in the cost of an outcome's usage.
const COSTS: [(&str, &str); 5] = [
    ("input_cost", "input"),
    ("output_cost", "output"),
    ("cache_read_cost", "cacheRead"),
    ("cache_write_cost", "cacheWrite"),
    ("total_cost", "total"),
];

/// Answers [`Query::Usage`].
///
/// # Errors
/// A statement failed.
pub(super) fn read(conn: &Connection, filter: &UsageFilter) -> rusqlite::Result<Vec<UsageSum>> {
    let mut values = vec![Value::Integer(ms(filter.from)), Value::Integer(ms(filter.to))];
    let mut condition = "ended_at >= ?1 AND ended_at < ?2".to_owned();
    if let Some(session) = &filter.session {
        condition.push_str(" AND session_key = ?3");
        values.push(Value::Text(session.0.clone()));
    }
    let (names, group) = if filter.by_session {
        ("session_key, agent_id", " GROUP BY session_key ORDER BY last_at DESC, session_key")
    } else {
        ("NULL AS session_key, NULL AS agent_id", "")
    };
    let of = |key: &str| format!("coalesce(sum(json_extract(outcome, '$.{key}')), 0)");
    let tokens: String = TOKENS
        .iter()
        .map(|(name, key)| format!("coalesce(sum(json_extract(outcome, '$.usage.{key}')), 0) AS {name}, "))
        .chain(COSTS.iter().map(|(name, key)| format!("coalesce(sum(json_extract(outcome, '$.usage.cost.{key}')), 0.0) AS {name}, ")))
        .collect();
    let sql = format!(
        "SELECT {names}, {tokens} coalesce(sum(json_extract(outcome, '$.usage.cost.total') IS NOT NULL), 0) AS priced,
                coalesce(sum(json_extract(outcome, '$.usage') IS NOT NULL), 0) AS asked, count(*) AS runs, coalesce(sum(status <> 'ok'), 0) AS failed, coalesce(sum(runner = 'shell'), 0) AS commands,
                {} AS duration_ms, {} AS cpu_ms, {} + {} AS output_bytes, coalesce(min(ended_at), 0) AS first_at, coalesce(max(ended_at), 0) AS last_at
         FROM runs WHERE {condition}{group}",
        of("durationMs"),
        of("cpuMs"),
        of("stdoutBytes"),
        of("stderrBytes"),
    );
    conn.prepare_cached(&sql)?.query_map(params_from_iter(values), sum)?.collect()
}

fn sum(row: &Row<'_>) -> rusqlite::Result<UsageSum> {
    let number = |name: &str| row.get::<_, i64>(name).map(|n| u64::try_from(n).unwrap_or(0));
    let key: Option<String> = row.get("session_key")?;
    let session = match key {
        Some(key) => Some((SessionKey(key), AgentId(row.get("agent_id")?))),
        None => None,
    };
    let dollars = |name: &str| row.get::<_, f64>(name);
    let (priced, asked) = (number("priced")?, number("asked")?);
    let cost = TokenCost {
        input: dollars("input_cost")?,
        output: dollars("output_cost")?,
        cache_read: dollars("cache_read_cost")?,
        cache_write: dollars("cache_write_cost")?,
        total: dollars("total_cost")?,
    };
    Ok(UsageSum {
        tokens: TokenUsage {
            input: number("input_tokens")?,
            output: number("output_tokens")?,
            cache_read: number("cache_read_tokens")?,
            cache_write: number("cache_write_tokens")?,
            cost: (priced > 0).then_some(cost),
        },
        unpriced: asked.saturating_sub(priced),
        session,
        runs: number("runs")?,
        failed: number("failed")?,
        commands: number("commands")?,
        duration_ms: number("duration_ms")?,
        cpu_ms: number("cpu_ms")?,
        output_bytes: number("output_bytes")?,
        first_at: number("first_at")?,
        last_at: number("last_at")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::ids::RunId;
    use crate::protocol::run::{Outcome, RunStatus};
    use crate::store::record::{Accepted, NewRun};

    async fn ended(store: &Store, key: &str, status: RunStatus, at: u64) {
        let new = NewRun {
            file_id: uuid::Uuid::new_v4().simple().to_string(),
            run_id: RunId::fresh(),
            principal: "p".into(),
            method: "agent",
            key: None,
            digest: [0; 32],
            session_key: key.into(),
            agent_id: "main".into(),
            runner: "shell".into(),
            title: String::new(),
            spec: String::new(),
            accepted_at: 1,
            queue: None,
        };
        let Ok(Accepted::New(run)) = store.accept_run(new).await else { panic!("not accepted") };
        let mut outcome = Outcome::without_work(status, None, "x", at);
        if key == "a" {
            let cost = (at == 10).then_some(TokenCost { input: 0.5, total: 0.5, ..TokenCost::default() });
            outcome.usage = Some(TokenUsage { input: 100, output: 7, cost, ..TokenUsage::default() });
        }
        (outcome.duration_ms, outcome.cpu_ms, outcome.stdout_bytes, outcome.stderr_bytes) = (100, 30, 5, 2);
        store.finish_run(&run.file_id, outcome, 3).await.unwrap();
    }

    #[tokio::test]
    async fn runs_are_added_up_over_a_span_and_by_session() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("state.db")).unwrap();
        let all = |from, to| UsageFilter { from, to, session: None, by_session: false };
        assert_eq!(store.usage(all(0, 1000)).await.unwrap(), [UsageSum::default()]);
        for (key, status, at) in [("a", RunStatus::Ok, 10), ("b", RunStatus::Error, 20), ("a", RunStatus::Ok, 30)] {
            ended(&store, key, status, at).await;
        }
        let sum = store.usage(all(10, 30)).await.unwrap().remove(0);
        let counted = (sum.runs, sum.failed, sum.duration_ms, sum.cpu_ms, sum.output_bytes, sum.first_at, sum.last_at);
        assert_eq!(counted, (2, 1, 200, 60, 14, 10, 20), "from is in the span, to is not");
        let by_session = store.usage(UsageFilter { by_session: true, ..all(0, 1000) }).await.unwrap();
        let rows: Vec<_> = by_session.iter().map(|sum| (sum.session.as_ref().unwrap().0.as_str(), sum.runs, sum.commands)).collect();
        assert_eq!(rows, [("a", 2, 2), ("b", 1, 1)]);
        let tokens = &by_session[0].tokens;
        assert_eq!((tokens.input, tokens.output, tokens.cost.map(|cost| cost.total), by_session[0].unpriced), (200, 14, Some(0.5), 1));
        assert_eq!((by_session[1].tokens, by_session[1].unpriced), (TokenUsage::default(), 0));
        let one = store.usage(UsageFilter { session: Some("b".into()), ..all(0, 1000) }).await.unwrap();
        assert_eq!((one[0].runs, &one[0].session), (1, &None));
        store.close().await.unwrap();
    }
}
