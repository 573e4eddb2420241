//! The files of the plan's prompts, wherever they are: at the plan's path, in this worker's cache, or at the
//! coordinator.
//!
//! What counts is the hash. A file at the plan's path with another one is never used, and never replaced: that
//! two machines have different data under one name is a mistake that its owner must hear of. A fetch that was
//! cut goes on where it was.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    path::{Path, PathBuf},
    time::Duration,
};

use protocol::{CoordinatorMessage, Fetch, Input, Peer, Refusal, Wire, WorkerId};
use sha2::{Digest, Sha256};
use workload::{Plan, PromptKind, TokenizerChoice};

/// How long a piece may take.
const ANSWER: Duration = Duration::from_secs(10);
/// Pieces in a row that may stay unanswered.
const TRIES: u32 = 6;
/// Bytes hashed at once.
const BLOCK: usize = 64 << 10;

/// Where inputs come from.
#[derive(Clone, Debug)]
pub(crate) struct Inputs {
    pub(crate) worker: WorkerId,
    pub(crate) door: Peer<CoordinatorMessage>,
    /// Fetched files, by their hashes.
    pub(crate) cache: Option<PathBuf>,
}

impl Inputs {
    /// The plan with the paths at which this machine has its files.
    pub(crate) async fn localize(&self, mut plan: Plan, inputs: &[Input]) -> Result<Plan, Refusal> {
        for input in inputs {
            let place = self.find(input).await?;
            if place != input.path {
                replace(&mut plan, &input.path, &place);
            }
        }
        Ok(plan)
    }

    async fn find(&self, input: &Input) -> Result<PathBuf, Refusal> {
        if let Some(hash) = hash_of(input.path.clone()).await? {
            return if hash == input.sha256 {
                Ok(input.path.clone())
            } else {
                Err(differs(input, &hash))
            };
        }
        let cached = self.cached(input)?;
        if hash_of(cached.clone()).await?.as_ref() == Some(&input.sha256) {
            return Ok(cached);
        }
        self.fetch(input, &cached).await?;
        Ok(cached)
    }

    /// A hash is a file's name here, so it must be nothing else.
    fn cached(&self, input: &Input) -> Result<PathBuf, Refusal> {
        let is_hash =
            input.sha256.len() == 64 && input.sha256.bytes().all(|b| b.is_ascii_hexdigit());
        if !is_hash {
            return Err(Refusal::for_good(format!("{:?} is no SHA-256", input.sha256)));
        }
        let cache = self.cache.as_ref().ok_or_else(|| {
            let path = input.path.display();
            Refusal::for_good(format!("{path} is not here, and this worker has no cache directory"))
        })?;
        fs::create_dir_all(cache).map_err(|error| unwritable(cache, &error))?;
        Ok(cache.join(&input.sha256))
    }

    async fn fetch(&self, input: &Input, cached: &Path) -> Result<(), Refusal> {
        let partial = cached.with_extension("partial");
        let mut file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&partial)
            .map_err(|error| unwritable(&partial, &error))?;
        let mut offset = file.metadata().map_err(|error| unwritable(&partial, &error))?.len();
        tracing::info!(input = %input.path.display(), bytes = input.bytes, offset, "fetching");
        while offset < input.bytes {
            let bytes = self.piece(input, offset).await?;
            if bytes.is_empty() {
                break;
            }
            file.write_all(&bytes).map_err(|error| unwritable(&partial, &error))?;
            offset += bytes.len() as u64;
        }
        let hash = hash_of(partial.clone()).await?.unwrap_or_default();
        if hash != input.sha256 {
            // What is there is of no use to a later try either.
            let _ = fs::remove_file(&partial);
            return Err(differs(input, &hash));
        }
        fs::rename(&partial, cached).map_err(|error| unwritable(cached, &error))
    }

    async fn piece(&self, input: &Input, offset: u64) -> Result<Vec<u8>, Refusal> {
        for _ in 0..TRIES {
            let fetch = Fetch { worker: self.worker, sha256: input.sha256.clone(), offset };
            let ask = |reply| CoordinatorMessage::Fetch(Wire::new(fetch), reply);
            match self.door.ask(ask, ANSWER).await {
                Ok(Wire(Ok(Ok(chunk)))) if chunk.offset == offset => return Ok(chunk.bytes),
                Ok(Wire(Ok(Ok(_)))) | Err(_) => tokio::time::sleep(ANSWER / 20).await,
                Ok(Wire(Ok(Err(refusal)))) => return Err(refusal),
                Ok(Wire(Err(error))) => return Err(Refusal::for_good(error.to_string())),
            }
        }
        let path = input.path.display();
        Err(Refusal::for_good(format!(
            "{path} could not be fetched: the coordinator does not answer"
        )))
    }
}

fn differs(input: &Input, hash: &str) -> Refusal {
    let (path, expected) = (input.path.display(), &input.sha256);
    Refusal::for_good(format!(
        "{path} differs from the coordinator's: SHA-256 {hash} here, {expected} there"
    ))
}

fn unwritable(path: &Path, error: &io::Error) -> Refusal {
    Refusal::for_good(format!("{} cannot be written: {error}", path.display()))
}

/// `None` where there is no such file. Off the runtime: a data set may have gigabytes.
async fn hash_of(path: PathBuf) -> Result<Option<String>, Refusal> {
    let shown = path.display().to_string();
    let hashed = tokio::task::spawn_blocking(move || hash(&path)).await;
    let hashed = hashed.map_err(|error| Refusal::for_good(error.to_string()))?;
    hashed.map_err(|error| Refusal::for_good(format!("{shown} cannot be read: {error}")))
}

fn hash(path: &Path) -> io::Result<Option<String>> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let (mut hasher, mut block) = (Sha256::new(), vec![0; BLOCK]);
    loop {
        let read = file.read(&mut block)?;
        if read == 0 {
            let digest = hasher.finalize();
            return Ok(Some(digest.iter().map(|byte| format!("{byte:02x}")).collect()));
        }
        hasher.update(&block[..read]);
    }
}

/// Each place in the plan that names a file.
fn replace(plan: &mut Plan, named: &Path, place: &Path) {
    for prompts in plan.prompts_by_class_mut() {
        let text = match &mut prompts.kind {
            PromptKind::Synthetic => None,
            PromptKind::File { path, .. } | PromptKind::ShareGpt { path } => Some(path),
        };
        let tokenizer = match &mut prompts.tokenizer {
            TokenizerChoice::Bundled => None,
            TokenizerChoice::File(path) => Some(path),
        };
        for path in text.into_iter().chain(tokenizer).filter(|path| path.as_path() == named) {
            place.clone_into(path);
        }
    }
    let schedule = plan.schedule.as_mut().map(|schedule| &mut schedule.path);
    if let Some(path) = schedule.filter(|path| path.as_path() == named) {
        place.clone_into(path);
    }
}

#[cfg(test)]
mod tests {
    use protocol::{Chunk, MAX_CHUNK_BYTES, worker_group};
    use ractor::{Actor, ActorProcessingErr, ActorRef};

    use super::*;

    const WORKER: WorkerId = WorkerId { ordinal: 0, incarnation: 77 };

    /// A coordinator that has one file, and no other message's answer.
    struct Shelf;

    impl Actor for Shelf {
        type Msg = CoordinatorMessage;
        type State = Vec<u8>;
        type Arguments = Vec<u8>;

        async fn pre_start(
            &self,
            _me: ActorRef<Self::Msg>,
            content: Vec<u8>,
        ) -> Result<Vec<u8>, ActorProcessingErr> {
            Ok(content)
        }

        async fn handle(
            &self,
            _me: ActorRef<Self::Msg>,
            message: CoordinatorMessage,
            content: &mut Vec<u8>,
        ) -> Result<(), ActorProcessingErr> {
            let CoordinatorMessage::Fetch(Wire(Ok(fetch)), reply) = message else { return Ok(()) };
            let from = usize::try_from(fetch.offset)?.min(content.len());
            let to = (from + MAX_CHUNK_BYTES).min(content.len());
            let chunk = Chunk { offset: fetch.offset, bytes: content[from..to].to_vec() };
            let _ = reply.send(Wire::new(Ok(chunk)));
            Ok(())
        }
    }

    struct Scene {
        directory: tempfile::TempDir,
        inputs: Inputs,
        input: Input,
        content: Vec<u8>,
    }

    async fn scene() -> Scene {
        let directory = tempfile::tempdir().unwrap();
        let content: Vec<u8> = (0..2 * MAX_CHUNK_BYTES + 7).map(|n| (n % 249) as u8).collect();
        let (shelf, _) = Actor::spawn(None, Shelf, content.clone()).await.unwrap();
        let path = directory.path().join("prompts.txt");
        let reference = directory.path().join("reference");
        fs::write(&reference, &content).unwrap();
        let sha256 = hash(&reference).unwrap().unwrap();
        let input = Input { path, bytes: content.len() as u64, sha256 };
        let cache = Some(directory.path().join("cache"));
        let inputs = Inputs { worker: WORKER, door: Peer::new(shelf.get_cell()), cache };
        Scene { directory, inputs, input, content }
    }

    #[tokio::test]
    async fn a_file_that_is_not_here_is_fetched_once_and_then_cached() {
        let Scene { directory: _held, inputs, input, content } = scene().await;
        let place = inputs.find(&input).await.unwrap();
        assert_eq!(fs::read(&place).unwrap(), content);
        let nobody = Inputs { door: Peer::of_group(worker_group(1)), ..inputs.clone() };
        assert_eq!(nobody.find(&input).await.unwrap(), place, "without a coordinator");
    }

    #[tokio::test]
    async fn a_fetch_that_was_cut_goes_on_where_it_was() {
        let Scene { directory: _held, inputs, input, content } = scene().await;
        let partial = inputs.cached(&input).unwrap().with_extension("partial");
        fs::write(&partial, &content[..1_000]).unwrap();
        let place = inputs.find(&input).await.unwrap();
        assert_eq!(fs::read(place).unwrap(), content);
        assert!(!partial.exists());
    }

    #[tokio::test]
    async fn another_file_under_the_same_name_is_refused_with_both_hashes() {
        let Scene { directory: _held, inputs, input, .. } = scene().await;
        fs::write(&input.path, "other").unwrap();
        let refusal = inputs.find(&input).await.unwrap_err();
        assert!(refusal.reason.contains("prompts.txt") && refusal.reason.contains(&input.sha256));
        assert_eq!(fs::read(&input.path).unwrap(), b"other", "left as it is");
    }

    #[tokio::test]
    async fn what_arrives_with_another_hash_is_not_used() {
        let Scene { directory: _held, inputs, input, .. } = scene().await;
        let wrong = Input { sha256: "0".repeat(64), ..input.clone() };
        assert!(inputs.find(&wrong).await.unwrap_err().reason.contains("differs"));
        assert!(!inputs.cached(&wrong).unwrap().exists());
        let escape = Input { sha256: "../".repeat(20) + "etc0", ..wrong };
        assert!(inputs.find(&escape).await.unwrap_err().reason.contains("no SHA-256"));
    }

    #[test]
    fn every_path_of_the_plan_is_replaced() {
        let mut plan = crate::lane::tests::plan("http://t/v1", &[("load.rate", 1.into())]);
        plan.prompts.kind = PromptKind::ShareGpt { path: "a.json".into() };
        plan.prompts.tokenizer = TokenizerChoice::File("t.json".into());
        replace(&mut plan, Path::new("a.json"), Path::new("/cache/1"));
        assert_eq!(plan.prompts.kind, PromptKind::ShareGpt { path: "/cache/1".into() });
        assert_eq!(plan.prompts.tokenizer, TokenizerChoice::File("t.json".into()));
    }
}
