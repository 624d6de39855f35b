//! What is made ready for a program before it starts, and taken away after its end: a desk for its commands, and a way to its model.

use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::hands::{Desk, loopback};
use super::teller::Teller;
use crate::exec::company::Company;
use crate::model::proxy::Proxy;
use crate::programs::ready::Proxied;
use crate::programs::spec::{Kind, ProgramSpec};
use crate::protocol::isolation::Level;
use crate::runs::control::RunSpec;
use crate::runs::runner::{Job, RunError};
use crate::runs::sink::RunSink;
use crate::runs::stop::Stop;

/// What must live as long as the program.
pub struct Way {
    proxy: Proxy,
    _folder: Option<Folder>,
}

impl Way {
    /// Takes the way away. Nobody listens there when this is done.
    pub async fn close(self) {
        self.proxy.close().await;
    }
}

/// Makes the way to the program's model ready, if the gateway asks for it; the spec says afterwards how it is taken.
///
/// # Errors
/// Why it cannot be had, and what to do about it.
pub async fn way(job: &Job, spec: &mut ProgramSpec) -> Result<Option<Way>, RunError> {
    let Some(endpoint) = spec.provider.take() else { return Ok(None) };
    let unavailable = |why: String| RunError::Unavailable(format!("credentials of the gateway: {why}"));
    let level = level(&job.spec);
    let network = job.spec.confinement.as_ref().is_some_and(|confinement| confinement.isolation.network);
    if level != Level::Off && !network {
        return Err(unavailable("an isolated run without a network reaches no model; set sandbox.network to \"on\"".to_owned()));
    }
    let listener = loopback(&job.spec).await.map_err(unavailable)?;
    let (api, model) = (endpoint.api, endpoint.model.clone());
    let (reasoning, images, context_window, max_tokens) =
        (endpoint.reasoning, endpoint.images, endpoint.context_window, endpoint.max_tokens);
    let proxy = Proxy::start(listener, *endpoint).await.map_err(unavailable)?;
    // One of the Agent Client Protocol spells its models by a list of its own.
    if !model.is_empty() && spec.kind != Kind::Acp {
        spec.model = Some(model.clone());
    }
    spec.ready.proxy = Some(Proxied {
        api,
        address: proxy.address(),
        key: proxy.key().expose().clone(),
        region: proxy.region().map(str::to_owned),
        model,
        reasoning,
        images,
        context_window,
        max_tokens,
    });
    let folder = match spec.kind {
        Kind::Pi if level != Level::Off => {
            return Err(unavailable(
                "pi is told of its model by a file, which isolated runs do not see; set credentials to \"native\"".to_owned(),
            ));
        }
        Kind::Pi => Some(Folder::of_pi(&job.spec, spec).map_err(|failed| unavailable(format!("pi's folder: {failed}")))?),
        _ => None,
    };
    Ok(Some(Way { proxy, _folder: folder }))
}

/// Opens the desk for the commands of a program, if the gateway runs them, and says to which company its processes belong.
///
/// # Errors
/// Why it cannot be had, and what to do about it.
pub async fn desk(
    job: &Job,
    spec: &mut ProgramSpec,
    out: &RunSink,
    stop: &Stop,
    teller: &Arc<Teller>,
) -> Result<(Option<Arc<Desk>>, Company), RunError> {
    let Some(rules) = spec.hands else { return Ok((None, Company::alone())) };
    if spec.kind == Kind::Pi {
        let why = "pi takes no tools from outside (it does not speak the Model Context Protocol), so its commands cannot be run by the gateway; set exec to \"native\" for this runner";
        return Err(RunError::Unavailable(why.to_owned()));
    }
    let company = Company::several();
    let (desk, ready) = Desk::open(&job.spec, rules, out, stop, teller, &company).await.map_err(RunError::Unavailable)?;
    spec.ready.hands = Some(ready);
    Ok((Some(desk), company))
}

fn level(spec: &RunSpec) -> Level {
    spec.confinement.as_ref().map_or(Level::Off, |confinement| confinement.isolation.level)
}

/// A folder of the run that goes away with it.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left of it is found under the run's name, and harms nobody.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

impl Folder {
    /// pi's own folder, with the file that says where its model is.
    fn of_pi(run: &RunSpec, spec: &mut ProgramSpec) -> io::Result<Self> {
        let control = run.socket_path.as_deref().ok_or_else(|| io::Error::other("the run has no folder of its own"))?;
        let path = control.with_extension("pi");
        let folder = Self(path.clone());
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&path)?;
        if let Some(models) = spec.ready.pi_models() {
            std::fs::write(path.join("models.json"), models.to_string())?;
        }
        let text = Path::to_str(&path).ok_or_else(|| io::Error::other("its path is not UTF-8"))?;
        spec.env.insert("PI_CODING_AGENT_DIR".to_owned(), text.to_owned());
        Ok(folder)
    }
}
