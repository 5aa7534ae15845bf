"""Studies, prices, priors, measurements and fronts, in and out of the database."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict

from optuna.storages import RDBStorage
from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from lambda_nas.cost.price_table import PriceTable
from lambda_nas.errors import StorageError, StudyMismatchError
from lambda_nas.models.architecture import Architecture
from lambda_nas.models.merging import Merging
from lambda_nas.records.front import non_dominated
from lambda_nas.records.run import Claim, ClaimCounts, ClaimResult, Run, RunInfo
from lambda_nas.records.study import StudyInfo, StudyRecord
from lambda_nas.records.trial import ParetoTrial, TrialRecord
from lambda_nas.store import reading, runs, schema
from lambda_nas.store.database import Database
from lambda_nas.store.engine import open_engine


class SqlStudyStore:
    """Our tables in one database; each method is one transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @classmethod
    def open(cls, url: str, *, create: bool = True) -> "SqlStudyStore":
        """Open a database, making or migrating our tables.

        Raises:
            InputError: If the URL can't be understood.
            StorageError: If the database can't be used, or is missing and not to be created.
        """
        return cls(Database(open_engine(url, create=create)))

    @property
    def url(self) -> str:
        """The database's URL, password and all."""
        return self._database.url

    @property
    def optuna(self) -> RDBStorage:
        """Optuna's storage in the same database."""
        return self._database.optuna

    def translated_errors(self) -> AbstractContextManager[None]:
        """Turn what Optuna raises of the database into a ``StorageError``."""
        return self._database.translated_errors()

    def has(self, name: str) -> bool:
        """Say whether there is a study of this name."""
        with self._database.reading() as session:
            query = select(schema.StudyRow.id).where(schema.StudyRow.name == name)
            return session.scalar(query) is not None

    def create_study(self, info: StudyInfo, prices: PriceTable) -> None:
        """Add a study with the prices of all its cost signatures, the baseline's among them.

        One that another process has added meanwhile stays as it is.
        """
        stages = [list(stage) for stage in prices.stages]
        merged = prices.merged and asdict(prices.merged)
        values = asdict(info) | {"layers": list(info.layers), "stages": stages, "merged": merged}
        del values["baseline"]
        try:
            with self._database.writing() as session:
                row = schema.StudyRow(**values)
                session.add(row)
                session.flush()
                for signature, price in prices.by_signature.items():
                    written = ",".join(map(str, signature))
                    session.add(
                        schema.PriceRow(study_id=row.id, signature=written, **asdict(price))
                    )
        except StorageError:
            if not self.has(info.name):
                raise

    def study(self, name: str) -> StudyInfo:
        """Return what a study is about.

        Raises:
            InputError: If there is none of this name; lists those there are.
        """
        with self._database.reading() as session:
            return reading.info(session, reading.study(session, name))

    def studies(self) -> list[StudyInfo]:
        """Return what all studies are about, oldest first."""
        with self._database.reading() as session:
            rows = session.scalars(select(schema.StudyRow).order_by(schema.StudyRow.id))
            return [reading.info(session, row) for row in rows]

    def load(self, name: str) -> StudyRecord:
        """Return all that is stored of a study, as of one moment.

        Raises:
            InputError: If there is none of this name; lists those there are.
        """
        with self._database.reading() as session:
            row = reading.study(session, name)
            return StudyRecord(
                info=reading.info(session, row),
                prices=reading.prices(session, row),
                prior=reading.prior(session, row.id),
                trials=tuple(reading.trial_records(session, row.id)),
                front=tuple(reading.front(session, row)),
                runs=runs.of_study(session, row.id),
            )

    def check_same(
        self,
        name: str,
        model: str,
        model_fingerprint: str,
        data: str,
        data_fingerprint: str,
        device: str,
    ) -> None:
        """Refuse to go on with a study over another model, other data or another device.

        Raises:
            StudyMismatchError: Names what the study has and what was given.
        """
        info = self.study(name)
        if info.model_fingerprint != model_fingerprint:
            raise StudyMismatchError(
                f"study {name} is about model {info.model} ({info.model_fingerprint}), not "
                f"{model} ({model_fingerprint}): choose another --study"
            )
        if info.data_fingerprint != data_fingerprint:
            raise StudyMismatchError(
                f"study {name} was measured on data {info.data} ({info.data_fingerprint}), not "
                f"{data} ({data_fingerprint}): choose another --study"
            )
        if info.device != device:
            raise StudyMismatchError(
                f"study {name} was priced on {info.device}, and this is {device}; throughputs of "
                "different devices do not belong on one front: choose another --study here"
            )

    def check_mergings(self, name: str, mergings: Sequence[Merging]) -> None:
        """Refuse to go on with other ways to merge tokens than those that have prices.

        Raises:
            StudyMismatchError: Names what the study has and what was given.
        """
        merged = self.prices(name).merged
        own = merged.mergings if merged else ()
        if own != tuple(mergings):
            there, given = (", ".join(map(str, each)) or "none" for each in (own, mergings))
            raise StudyMismatchError(
                f"study {name} was begun with token merging: {there}; now given: {given}: give the "
                "same --space, or choose another --study"
            )

    def prices(self, study: str) -> PriceTable:
        """Return the prices by cost signature."""
        with self._database.reading() as session:
            return reading.prices(session, reading.study(session, study))

    def save_prior(self, study: str, content: dict[str, object]) -> None:
        """Keep the prior of a study in place of the one it has."""
        with self._database.writing() as session:
            study_id = reading.study(session, study, lock=True).id
            session.execute(delete(schema.PriorRow).where(schema.PriorRow.study_id == study_id))
            session.add(schema.PriorRow(study_id=study_id, content=content))

    def prior(self, study: str) -> dict[str, object] | None:
        """Return the prior of a study if it has been measured."""
        with self._database.reading() as session:
            return reading.prior(session, reading.study(session, study).id)

    def begin_run(self, study: str, info: RunInfo) -> int:
        """Add a run; return its id."""
        with self._database.writing() as session:
            return runs.begin(session, reading.study(session, study).id, info)

    def record_heartbeat(
        self, run: int, seconds: float, spent: Mapping[str, float], *, ended: bool = False
    ) -> None:
        """Say that a run lives after so many seconds, or that it has ended."""
        with self._database.writing() as session:
            runs.record_heartbeat(session, run, seconds, spent, ended=ended)

    def mark_dead(self, run: int) -> None:
        """Say of a run that its driver is gone."""
        with self._database.writing() as session:
            session.execute(update(schema.RunRow).where(schema.RunRow.id == run).values(ended=True))

    def runs(self, study: str) -> Sequence[Run]:
        """Return the runs of a study in order."""
        with self._database.reading() as session:
            return runs.of_study(session, reading.study(session, study).id)

    def count(self, study: str) -> ClaimCounts:
        """Count what is evaluated, and what is claimed by some run."""
        with self._database.reading() as session:
            return runs.count(session, reading.study(session, study).id)

    def claim(
        self, study: str, architecture: Architecture, trial: int, *, run: int, budget: int | None
    ) -> ClaimResult:
        """Ask to measure a set, for the only time; ``budget`` is of the whole study."""
        with self._database.writing() as session:
            study_id = reading.study(session, study, lock=True).id
            return runs.claim(session, study_id, architecture, trial, run=run, budget=budget)

    def claims(self, study: str) -> list[Claim]:
        """Return the sets that are being measured, or were when their run was killed."""
        with self._database.reading() as session:
            return runs.claims(session, reading.study(session, study).id)

    @contextmanager
    def transaction(self, study: str) -> Iterator[None]:
        """Open a transaction that Optuna's storage joins; nobody else changes the study meanwhile.

        Optuna's own tables are as anybody's: the trials of another driver may still begin.
        """
        with self._database.writing_with_optuna() as session:
            reading.study(session, study, lock=True)
            yield

    def settle(self, study: str, trial: int, tell: Callable[[], object]) -> bool:
        """Give up a trial's claim, if it has one, and tell Optuna, in one transaction.

        Returns:
            Whether there was one; without, nothing is told.
        """
        with self._database.writing_with_optuna() as session:
            released = runs.release(session, reading.study(session, study, lock=True).id, trial)
            if released:
                tell()
            return released

    def record(
        self,
        study: str,
        history: TrialRecord,
        weights: str | None,
        *,
        tell: Callable[[], object] = lambda: None,
    ) -> list[ParetoTrial] | None:
        """Keep an evaluated trial, bring the front up to date, and tell Optuna: one transaction.

        Returns:
            The front, or ``None`` if the trial's run has lost its claim: nothing is kept then.
        """
        with self._database.writing_with_optuna() as session:
            row = reading.study(session, study, lock=True)
            if not runs.release(session, row.id, history.trial) and history.run is not None:
                return None
            session.add(_architecture(row.id, history, weights))
            session.flush()
            front = _renew_front(session, row)
            tell()
            return front

    def trials(self, study: str) -> list[ParetoTrial]:
        """Return all trials that went to the end, in order."""
        with self._database.reading() as session:
            points = reading.points(session, reading.study(session, study)).values()
            return sorted(points, key=lambda point: point.trial)

    def trial_records(self, study: str) -> list[TrialRecord]:
        """Return all evaluated trials in order, those that were stopped early too."""
        with self._database.reading() as session:
            return reading.trial_records(session, reading.study(session, study).id)

    def front(self, study: str) -> list[ParetoTrial]:
        """Return the front as it was stored, slowest first."""
        with self._database.reading() as session:
            return reading.front(session, reading.study(session, study))


def _architecture(study_id: int, history: TrialRecord, weights: str | None) -> schema.TrialRow:
    return schema.TrialRow(
        study_id=study_id,
        trial=history.trial,
        removed=history.architecture.written(),
        removed_count=len(history.removal),
        weights=weights,
        stopped=history.stopped,
        score=history.score,
        run_id=history.run,
        elapsed_s=history.elapsed_s,
        measurements=[schema.MeasurementRow(**asdict(rung)) for rung in history.rungs],
    )


def _renew_front(session: Session, study: schema.StudyRow) -> list[ParetoTrial]:
    by_id = reading.points(session, study)
    front = non_dominated(list(by_id.values()))
    trials = {point.trial for point in front}
    session.execute(delete(schema.FrontMember).where(schema.FrontMember.study_id == study.id))
    for architecture_id, point in by_id.items():
        if point.trial in trials:
            session.add(schema.FrontMember(study_id=study.id, architecture_id=architecture_id))
    return front
