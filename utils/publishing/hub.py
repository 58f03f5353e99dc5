"""Publishing a finished run, or the demo of one: one commit with the files that are meant for others, and nothing else.

The Trainer's own push is never used: it would create the repository before there is anything to show, push during
training and write its own card over ours.
"""

import re
from collections.abc import Callable, Sequence
from fnmatch import fnmatch
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from huggingface_hub import CommitInfo, HfApi, ModelCard
from huggingface_hub.errors import (
    HfHubHTTPError,
    HFValidationError,
    HTTPError,
    LocalTokenNotFoundError,
    RepositoryNotFoundError,
)
from huggingface_hub.utils import validate_repo_id

from utils.command_line import command
from utils.console import InputError
from utils.data.labels import on_one_line
from utils.hub_client import limit_waiting, waited
from utils.run_folder import FINGERPRINT, PUBLISHED, RUN_FILE, RunFolder

_SAYINGS = {
    401: "the Hub does not accept the token; set HF_TOKEN or run `hf auth login`",
    403: "the token may not write there",
    404: "there is no such repository or branch, or this token may not see it",
    409: "another change came in between, or something of that name exists already",
    412: "another push came in between",
    413: "the Hub finds a file too large",
    429: "the Hub has had too many requests from this account; wait a few minutes",
}


# What may lie in a repository before its first model: nothing that a push would replace. See also `_is_blank`.
_NO_MODEL = (".git*", "LICENSE*")
_ATTEMPTS = 5  # to commit, where others commit at the same time
# Names that git takes for branches and tags, without those that need quoting somewhere.
_REF = re.compile(r"(?!.*(\.\.|//|\.lock$|\.lock/|/\.|\.$|/$))[\w][\w./+-]*", re.ASCII)


class Publication(NamedTuple):
    """Where a run is to be published: `user/name`, as a private repository or not, on a branch, with a tag; and whether
    it may take the place of another model there.

    `space_id` is where its demo is to be published. The demo's own publication has the kind `space`: a static Space.
    """

    repo_id: str
    private: bool = False
    revision: str | None = None
    tag: str | None = None
    overwrite: bool = False
    space_id: str | None = None
    kind: str = "model"

    @property
    def option(self) -> str:
        """The argument that named the repository."""
        return f"--hub_{self.kind}_id"

    def command(self, run: RunFolder) -> str:
        """The command line that publishes `run` there."""
        options = ["--hub_model_id", self.repo_id]
        options += ["--hub_space_id", self.space_id] if self.space_id else []
        options += ["--hub_private_repo"] if self.private else []
        options += ["--hub_revision", self.revision] if self.revision else []
        options += ["--hub_tag", self.tag] if self.tag else []
        options += ["--overwrite_repo"] if self.overwrite else []
        return command("run_push.py", run, *options)

    def push(self, run: RunFolder) -> CommitInfo:
        """Upload the published files of a run in one commit, see `upload`; returns that commit.

        What is published is an allow-list, `PUBLISHED`: predictions, run.json, checkpoints and whatever else lies in
        the folder stay at home.

        Raises:
            InputError: the Hub refuses or cannot be reached, or holds another model; the run folder is untouched, and
                the command in the sentence continues: what was uploaded already is not sent again.
        """

        def upload() -> CommitInfo:
            fingerprint = run.read(RUN_FILE).get(FINGERPRINT)
            return self.upload(run.path, PUBLISHED, fingerprint, "Upload model, thresholds and card")

        return explained(upload, self.repo_id, run, "nothing was published", self.command(run))

    def upload(self, folder: Path, files: Sequence[str], fingerprint: str | None, message: str) -> CommitInfo:
        """One commit with the files of `folder` whose names match `files`.

        Repository, branch and tag are created if need be. Files of such names that the folder no longer has are removed
        from the repository; of something else that is to be replaced, all files. Where nothing has changed, the Hub's
        last commit stays. The commit follows the one that was looked at: where another came in between, it is looked
        again.

        Args:
            fingerprint: of the run that they belong to.

        Raises:
            InputError: the repository holds something else; or whatever the Hub's client raises.
        """
        limit_waiting()
        api, repo_id, kind, revision = HfApi(), self.repo_id, self.kind, self.revision
        sdk = "static" if kind == "space" else None
        api.create_repo(repo_id, repo_type=kind, private=self.private or None, exist_ok=True, space_sdk=sdk)
        for attempt in range(_ATTEMPTS):
            parent, is_another = self.look(api, fingerprint)
            if revision:
                api.create_branch(repo_id, repo_type=kind, branch=revision, exist_ok=True)
            try:
                commit = api.upload_folder(
                    repo_id=repo_id,
                    repo_type=kind,
                    folder_path=folder,
                    allow_patterns=list(files),
                    delete_patterns="*" if is_another else list(files),
                    revision=revision,
                    commit_message=message,
                    parent_commit=parent,
                )
                break
            except HfHubHTTPError as error:
                if error.response.status_code != 412 or attempt == _ATTEMPTS - 1:
                    raise
        if self.tag:
            api.create_tag(repo_id, repo_type=kind, tag=self.tag, revision=commit.oid)
        return commit

    def look(self, api: HfApi, fingerprint: str | None) -> tuple[str | None, bool]:
        """The newest commit of the branch, and whether what it holds is of another model than that with `fingerprint`.

        A branch that is yet to come begins as the main one is. Returns None and False where there is no repository.

        Raises:
            InputError: it is, and may not be replaced; or the tag exists already.
        """
        kind = self.kind
        try:
            refs = api.list_repo_refs(self.repo_id, repo_type=kind)
        except RepositoryNotFoundError:
            return None, False
        tags = {tag.name: tag.target_commit for tag in refs.tags}
        if self.tag in tags:
            raise InputError(
                f"--hub_tag {self.tag}: {self.repo_id} has that tag already, for its commit {tags[self.tag][:8]}; give "
                "another tag."
            )
        branches = {branch.name: branch.target_commit for branch in refs.branches}
        parent = branches.get(self.revision or "main") or branches.get("main")
        files = [] if parent is None else api.list_repo_files(self.repo_id, repo_type=kind, revision=parent)
        held = [path for path in files if not any(fnmatch(path, pattern) for pattern in _NO_MODEL)]
        if not held or (kind == "space" and len(api.list_repo_commits(self.repo_id, repo_type=kind)) == 1):
            return parent, False  # a new Space holds the Hub's own example of a page
        card = None
        if "README.md" in held:
            with TemporaryDirectory() as folder:
                card = Path(
                    api.hf_hub_download(self.repo_id, "README.md", repo_type=kind, revision=parent, cache_dir=folder)
                ).read_bytes()
            if held == ["README.md"] and _is_blank(card):
                return parent, False
        if fingerprint is not None and _fingerprint_in(card) == fingerprint:
            return parent, False
        if not self.overwrite:
            others = {"model": "a model that was not trained as this one was", "space": "the demo of another model"}
            what = others[kind] if _fingerprint_in(card) else "something else"
            shown = ", ".join(on_one_line(path) for path in held[:3]) + (", …" if len(held) > 3 else "")
            raise InputError(
                f"{self.repo_id} holds {what} ({shown}); give another {self.option}, or --overwrite_repo to have this "
                "run take its place (the Hub keeps the old commits)."
            )
        return parent, True


def explained(upload: Callable[[], CommitInfo], repo_id: str, run: RunFolder, state: str, command: str) -> CommitInfo:
    """What `upload` returns; where it fails, an `InputError` says why, what `state` things are in, and how to go on."""
    try:
        return upload()
    except InputError as error:
        raise InputError(f"{error} The run in {run} is whole, and {state}.") from error
    except Exception as error:  # HTTP, connection, disk: each has its own exception, the way on is the same
        raise InputError(
            f"Publishing as {repo_id} failed ({_reason(error)}). The run in {run} is whole; this continues: {command}"
        ) from error


def _fingerprint_in(card: bytes | None) -> str | None:
    """The mark that `utils.publishing.card` leaves in a card's metadata; None: it is none of ours."""
    try:
        mark = ModelCard((card or b"").decode()).data.to_dict().get(FINGERPRINT)
    except Exception:  # not text, not YAML, not a card: a stranger's
        return None
    return mark if isinstance(mark, str) else None


def _is_blank(card: bytes) -> bool:
    """Whether a card has no text, only metadata, as the Hub makes one for a new repository."""
    return not re.sub(rb"\A\s*---\r?\n.*?\n---\s*", b"", card, flags=re.DOTALL).strip()


def check_access(wanted: Publication, metadata: str, fingerprint: str | None) -> Publication:
    """Check all that can be known to fail before anything is trained; returns `wanted` with its full `user/name`.

    Name, token (from HF_TOKEN or a saved login) and its rights, the visibility of a repository that exists, what it
    holds, its tags, and the card's metadata, which the Hub itself is asked to validate.

    Args:
        metadata: the YAML block of the card, as far as it is known.
        fingerprint: what tells the run's model from others, see `RunFolder.write_run_json`.

    Raises:
        InputError: publishing would fail, and why.
    """
    try:
        validate_repo_id(wanted.repo_id)
    except HFValidationError as error:
        raise InputError(
            f"{wanted.option} {wanted.repo_id}: {_reason(error)}; a name or user/name is needed."
        ) from error
    for option, name in (("--hub_revision", wanted.revision), ("--hub_tag", wanted.tag)):
        if name is not None and not _REF.fullmatch(name):
            raise InputError(f"{option} {name}: git has no such names; accepted: letters, digits and . _ - + /.")
    limit_waiting()
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
        raise InputError(f"{wanted.option} {repo_id}: {account['name']} may publish under {' or '.join(namespaces)}.")
    if not _may_write(account, repo_id):
        raise InputError(
            f"The token of {account['name']} may only read {repo_id}; publishing needs one with write access."
        )
    wanted = wanted._replace(repo_id=repo_id)
    if wanted.private and is_private(api, wanted) is False:
        raise InputError(
            f"--hub_private_repo: {repo_id} exists and is public; make it private in its settings on the Hub, or give "
            f"another {wanted.option}."
        )
    try:
        wanted.look(api, fingerprint)
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"The Hub cannot be asked about {repo_id} ({_reason(error)}); try again later.") from error
    try:
        ModelCard(f"---\n{metadata}\n---\n").validate(repo_type=wanted.kind)
    except ValueError as error:
        card = "model card" if wanted.kind == "model" else "Space"
        raise InputError(f"The Hub does not accept the {card}'s metadata ({_reason(error)}).") from error
    except Exception as error:
        raise InputError(f"The Hub cannot be asked about the card ({_reason(error)}); try again later.") from error
    return wanted


def is_private(api: HfApi, publication: Publication) -> bool | None:
    """Whether the repository is private; None where it is yet to be created.

    Raises:
        InputError: the Hub does not say.
    """
    try:
        return bool(api.repo_info(publication.repo_id, repo_type=publication.kind).private)
    except RepositoryNotFoundError:
        return None
    except Exception as error:
        raise InputError(
            f"The Hub cannot be asked about {publication.repo_id} ({_reason(error)}); try again later."
        ) from error


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
    if said := waited(error):
        return said
    if isinstance(error, HfHubHTTPError):
        status = error.response.status_code
        answer = f"HTTP {status}: " + _SAYINGS.get(status, "the Hub is in trouble" if status >= 500 else "refused")
        return answer + (f"; it says: {_short(error.server_message)}" if error.server_message else "")
    words = _short(str(error)) or type(error).__name__
    return f"{words}: {_reason(error.__cause__)}" if error.__cause__ and not isinstance(error, HTTPError) else words


def _short(text: str) -> str:
    return on_one_line(re.sub(r"\s+", " ", text).strip())[:200].rstrip(" .:")
