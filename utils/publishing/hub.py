"""Publishing a finished run: one commit with the files that are meant for others, and nothing else.

The Trainer's own push is never used: it would create the repository before there is anything to show, push during
training and write its own card over ours.
"""

import re
import shlex
from typing import NamedTuple

from huggingface_hub import HfApi, ModelCard
from huggingface_hub.errors import (
    HfHubHTTPError,
    HFValidationError,
    HTTPError,
    LocalTokenNotFoundError,
    RepositoryNotFoundError,
)
from huggingface_hub.utils import validate_repo_id

from utils.console import InputError
from utils.run_folder import PUBLISHED, RunFolder

_SAYINGS = {
    401: "the Hub does not accept the token; set HF_TOKEN or run `hf auth login`",
    403: "the token may not write there",
    404: "there is no such repository or branch, or this token may not see it",
    409: "another change came in between, or something of that name exists already",
    413: "the Hub finds a file too large",
    429: "the Hub has had too many requests from this account; wait a few minutes",
}


class Publication(NamedTuple):
    """Where a run is to be published: `user/name`, as a private repository or not, on a branch, with a tag."""

    repo_id: str
    private: bool = False
    revision: str | None = None
    tag: str | None = None

    def command(self, run: RunFolder) -> str:
        """The command line that publishes `run` there."""
        options = ["--hub_model_id", self.repo_id]
        options += ["--hub_private_repo"] if self.private else []
        options += ["--hub_revision", self.revision] if self.revision else []
        options += ["--hub_tag", self.tag] if self.tag else []
        return shlex.join(["python", "run_push.py", str(run), *options])

    def push(self, run: RunFolder) -> str:
        """Upload the published files of a run in one commit; returns the commit's address.

        What is published is an allow-list, `PUBLISHED`: predictions, run.json, checkpoints and whatever else lies in
        the folder stay at home.

        Repository, branch and tag are created if need be. Published files that the run no longer has are removed from
        the repository. Where nothing has changed, the Hub's last commit stays.

        Raises:
            InputError: the Hub refuses or cannot be reached; the run folder is untouched, and the command in the
                sentence continues: what was uploaded already is not sent again.
        """
        api, repo_id, revision = HfApi(), self.repo_id, self.revision
        try:
            api.create_repo(repo_id, private=self.private or None, exist_ok=True)
            if revision:
                api.create_branch(repo_id, branch=revision, exist_ok=True)
            commit = api.upload_folder(
                repo_id=repo_id,
                folder_path=run.path,
                allow_patterns=list(PUBLISHED),
                delete_patterns=list(PUBLISHED),
                revision=revision,
                commit_message="Upload model, thresholds and card",
            )
            if self.tag:
                api.create_tag(repo_id, tag=self.tag, revision=commit.oid)
        except Exception as error:  # HTTP, connection, disk: each has its own exception, the way on is the same
            raise InputError(
                f"Publishing as {repo_id} failed ({_reason(error)}). The run in {run} is whole; this continues: "
                f"{self.command(run)}"
            ) from error
        return commit.commit_url


def check_access(wanted: Publication, metadata: str) -> Publication:
    """Check all that can be known to fail before anything is trained; returns `wanted` with its full `user/name`.

    Name, token (from HF_TOKEN or a saved login) and its rights, the visibility of a repository that exists, and the
    card's metadata, which the Hub itself is asked to validate.

    Args:
        metadata: the YAML block of the card, as far as it is known.

    Raises:
        InputError: publishing would fail, and why.
    """
    try:
        validate_repo_id(wanted.repo_id)
    except HFValidationError as error:
        raise InputError(
            f"--hub_model_id {wanted.repo_id}: {_reason(error)}; a name or user/name is needed."
        ) from error
    api = HfApi()
    try:
        account = api.whoami()
    except Exception as error:  # no token, a wrong one, no network: the sentence carries the client's reason
        raise InputError(
            f"The Hub at {api.endpoint} does not know who is publishing ({_reason(error)}); set HF_TOKEN or run "
            "`hf auth login`."
        ) from error
    repo_id = wanted.repo_id if "/" in wanted.repo_id else f"{account['name']}/{wanted.repo_id}"
    namespaces = [account["name"], *(org["name"] for org in account.get("orgs", []))]
    if repo_id.split("/")[0] not in namespaces:
        raise InputError(f"--hub_model_id {repo_id}: {account['name']} may publish under {' or '.join(namespaces)}.")
    if not _may_write(account, repo_id):
        raise InputError(
            f"The token of {account['name']} may only read {repo_id}; publishing needs one with write access."
        )
    try:
        is_public = wanted.private and not api.model_info(repo_id).private
    except RepositoryNotFoundError:
        is_public = False  # it will be created
    except Exception as error:
        raise InputError(f"The Hub cannot be asked about {repo_id} ({_reason(error)}); try again later.") from error
    if is_public:
        raise InputError(
            f"--hub_private_repo: {repo_id} exists and is public; make it private in its settings on the Hub, or give "
            "another --hub_model_id."
        )
    try:
        ModelCard(f"---\n{metadata}\n---\n").validate(repo_type="model")
    except ValueError as error:
        raise InputError(f"The Hub does not accept the model card's metadata ({_reason(error)}).") from error
    except Exception as error:
        raise InputError(f"The Hub cannot be asked about the card ({_reason(error)}); try again later.") from error
    return wanted._replace(repo_id=repo_id)


def _may_write(account: dict, repo_id: str) -> bool:
    """Whether the token that `whoami` describes may write to a repository: by its role, or by fine-grained rights."""
    token = account.get("auth", {}).get("accessToken", {})
    if token.get("role") != "fineGrained":
        return token.get("role") != "read"
    scopes = token.get("fineGrained", {}).get("scoped", [])
    places = (repo_id, repo_id.split("/")[0])
    return any(
        scope.get("entity", {}).get("name") in places and "repo.write" in scope.get("permissions", [])
        for scope in scopes
    )


def _reason(error: BaseException) -> str:
    """What the Hub or its client said, in a few words; the client wraps what went wrong while it was uploading."""
    if isinstance(error, LocalTokenNotFoundError):
        return "there is no token on this machine"
    if isinstance(error, HfHubHTTPError):
        status = error.response.status_code
        said = f"HTTP {status}: " + _SAYINGS.get(status, "the Hub is in trouble" if status >= 500 else "refused")
        return said + (f"; it says: {_short(error.server_message)}" if error.server_message else "")
    said = _short(str(error)) or type(error).__name__
    return f"{said}: {_reason(error.__cause__)}" if error.__cause__ and not isinstance(error, HTTPError) else said


def _short(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip()[:200].rstrip(" .:")
