"""Publishing a finished run: one commit with the files that are meant for others, and nothing else."""

from pathlib import Path

from huggingface_hub import HfApi
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id

from utils.console import InputError

# An allow-list: predictions, run.json, checkpoints and whatever else lies in the folder stay at home.
PUBLISHED = (
    "config.json", "model*.safetensors", "model.safetensors.index.json", "tokenizer*.json", "special_tokens_map.json",
    "vocab.txt", "vocab.json", "merges.txt", "baseline.skops", "thresholds.json", "threshold_strategies.csv",
    "all_results.json", "per_label.csv", "README.md", "plots/*.png", "onnx/*.onnx",
)  # fmt: skip


def check_access(repo_id: str) -> str:
    """Check name and token before anything is done; returns the full repository id (`user/name`).

    The token comes from HF_TOKEN or a saved login.

    Raises:
        InputError: the name is malformed, or there is no token that may write.
    """
    try:
        validate_repo_id(repo_id)
    except HFValidationError as error:
        raise InputError(f"--hub_model_id {repo_id}: {_reason(error)}; a name or user/name is needed.") from error
    try:
        account = HfApi().whoami()
    except Exception as error:  # no token, a wrong one, no network: the sentence carries the client's reason
        raise InputError(
            f"The Hub does not know who is publishing ({_reason(error)}); set HF_TOKEN or run `hf auth login`."
        ) from error
    if account.get("auth", {}).get("accessToken", {}).get("role") == "read":
        raise InputError(f"The token of {account['name']} may only read; publishing needs one with write access.")
    return repo_id if "/" in repo_id else f"{account['name']}/{repo_id}"


def push(run_dir: Path, repo_id: str, private: bool, revision: str | None) -> str:
    """Upload the published files of a run in one commit; returns the commit's address.

    The repository and the branch are created if need be. Where nothing has changed, the Hub's last commit stays.

    Raises:
        InputError: the Hub refuses or cannot be reached; the run folder is untouched, and the same call continues.
    """
    api = HfApi()
    try:
        api.create_repo(repo_id, private=private or None, exist_ok=True)
        if revision:
            api.create_branch(repo_id, branch=revision, exist_ok=True)
        commit = api.upload_folder(
            repo_id=repo_id,
            folder_path=run_dir,
            allow_patterns=list(PUBLISHED),
            delete_patterns=["onnx/*"],  # an earlier push's, where this run has none: made from other weights
            revision=revision,
            commit_message="Upload model, thresholds and card",
        )
    except Exception as error:
        raise InputError(
            f"Publishing {run_dir} as {repo_id} failed ({_reason(error)}); the folder is whole, and "
            f"`python run_push.py {run_dir} --hub_model_id {repo_id}` continues."
        ) from error
    return commit.commit_url


def _reason(error: Exception) -> str:
    return (" ".join(str(error).split()) or type(error).__name__)[:200].rstrip(".")
