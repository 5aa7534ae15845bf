"""Stores studies, prices, priors, runs and trials in a database."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Self

from optuna.storages import RDBStorage
from sqlalchemy import select
from sqlalchemy.orm import Session

from lambda_nas.cost.price_table import PriceTable
from lambda_nas.errors import StorageError, StudyMismatchError
from lambda_nas.models.architecture import Architecture
from lambda_nas.models.merging import Merging
from lambda_nas.records.front import non_dominated
from lambda_nas.records.run import Claim, ClaimCounts, ClaimResult, Run, RunInfo
from lambda_nas.records.study import StudyInfo, StudyRecord
from lambda_nas.records.trial import ParetoTrial, TrialRecord
from lambda_nas.records.weights import file_name
from lambda_nas.store import reading, runs
from lambda_nas.store.contents import check_row
from lambda_nas.store.database import Database
from lambda_nas.store.engine import open_engine
from lambda_nas.store.schema import Base, MeasurementRow, PriceRow, PriorRow, StudyRow, TrialRow


class SqlStudyStore:
    """The studies in one database. Each method is one transaction; ``with`` closes it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @classmethod
    def open(cls, url: str | None, *, create: bool = True) -> "SqlStudyStore":
        """Open a database, and create or migrate our tables.

        Args:
            url: SQLAlchemy URL; ``None`` for that of the environment, or else the default one.
            create: Whether a missing SQLite file is created.

        Raises:
            InputError: If the URL can't be understood.
            StorageError: If the database can't be used, or is missing and ``create`` is false.
        """
        return cls(Database(open_engine(url, create=create)))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._database.close()

    @property
    def url(self) -> str:
        """The database's URL, including the password."""
        return self._database.url

    @property
    def weights_root(self) -> Path:
        """The folder of all its studies' weights, unless the user chooses another."""
        return self._database.weights_root

    @property
    def optuna(self) -> RDBStorage:
        """Optuna's storage in the same database."""
        return self._database.optuna

    def reading_optuna(self) -> AbstractContextManager[RDBStorage]:
        """Yield Optuna's storage; whatever it can't read becomes a ``StorageError``."""
        return self._database.reading_optuna()

    def translated_errors(self) -> AbstractContextManager[None]:
        """Turn the errors that Optuna raises about the database into ``StorageError``."""
        return self._database.translated_errors()

    def has(self, name: str) -> bool:
        """Return whether there is a study of this name."""
        with self._database.reading() as session:
            query = select(StudyRow.id).where(StudyRow.name == name)
            return session.scalar(query) is not None

    def create_study(self, info: StudyInfo, prices: PriceTable) -> None:
        """Add a study with the prices of all its cost signatures, including the baseline's.

        If another process has added the study meanwhile, it stays as it is.

        Raises:
            StorageError: If the database fails, or a value is one that could not be read back.
        """
        stages = [list(stage) for stage in prices.stages]
        merged = prices.merged and asdict(prices.merged)
        values = asdict(info) | {"layers": list(info.layers), "stages": stages, "merged": merged}
        del values["baseline"]
        try:
            with self._database.writing() as session:
                row = StudyRow(**values)
                session.add(row)
                session.flush()
                priced = [
                    PriceRow(
                        study_id=row.id, signature=",".join(map(str, signature)), **asdict(price)
                    )
                    for signature, price in prices.by_signature.items()
                ]
                session.add_all(priced)
                # The columns that have a default are filled now.
                session.flush()
                _check_rows(info.name, [row, *priced])
        except StorageError:
            if not self.has(info.name):
                raise

    def study(self, name: str) -> StudyInfo:
        """Return what a study is about.

        Raises:
            InputError: If no study has this name; the error lists those there are.
        """
        with self._database.reading() as session:
            return reading.study_info(session, reading.study_row(session, name))

    def studies(self) -> list[StudyInfo]:
        """Return what each study is about, oldest first."""
        with self._database.reading() as session:
            rows = session.scalars(select(StudyRow).order_by(StudyRow.id))
            return [reading.study_info(session, row) for row in rows]

    def load(self, name: str) -> StudyRecord:
        """Return everything that is stored of a study, read in one transaction.

        Raises:
            InputError: If no study has this name; the error lists those there are.
        """
        with self._database.reading() as session:
            row = reading.study_row(session, name)
            prices = reading.price_table(session, row)
            trials = reading.trial_rows(session, row.id)
            record = StudyRecord(
                info=reading.study_info(session, row),
                prices=prices,
                prior=reading.prior(session, row.id),
                trials=tuple(reading.trial_record(trial, prices) for trial in trials),
                front=tuple(non_dominated(reading.pareto_trials(trials, prices))),
                runs=runs.of_study(session, row.id),
            )
            reading.check_references(record)
            return record

    def check_model(self, name: str, *, model: str, model_fingerprint: str, device: str) -> None:
        """Check that a study is about this model and was priced on this device.

        Raises:
            StudyMismatchError: If not; names what the study has and what was given.
        """
        info = self.study(name)
        if info.model_fingerprint != model_fingerprint:
            raise StudyMismatchError(
                f"study {name} is about model {info.model} ({info.model_fingerprint}), not "
                f"{model} ({model_fingerprint})",
                advice="choose another `study`",
            )
        if info.device != device:
            raise StudyMismatchError(
                f"study {name} was priced on {info.device}, and this is {device}; throughputs of "
                "different devices can't be compared on one front",
                advice="choose another `study` here",
            )

    def check_data(self, name: str, *, data: str, data_fingerprint: str) -> None:
        """Check that a study was measured on these images.

        Raises:
            StudyMismatchError: If not; names what the study has and what was given.
        """
        info = self.study(name)
        if info.data_fingerprint != data_fingerprint:
            raise StudyMismatchError(
                f"study {name} was measured on data {info.data} ({info.data_fingerprint}), not "
                f"{data} ({data_fingerprint})",
                advice="choose another `study`",
            )

    def check_mergings(self, name: str, mergings: Sequence[Merging]) -> None:
        """Check that a study has prices for exactly these ways to merge tokens.

        Raises:
            StudyMismatchError: If not; names what the study has and what was given.
        """
        merged = self.prices(name).merged
        own = merged.mergings if merged else ()
        if own != tuple(mergings):
            there, given = (", ".join(map(str, each)) or "none" for each in (own, mergings))
            raise StudyMismatchError(
                f"study {name} was begun with token merging: {there}; now given: {given}",
                advice="give the same `space`, or choose another `study`",
            )

    def prices(self, study: str) -> PriceTable:
        """Return the prices by cost signature."""
        with self._database.reading() as session:
            return reading.price_table(session, reading.study_row(session, study))

    def save_prior(self, study: str, content: dict[str, object]) -> None:
        """Save the prior of a study; it replaces the one that the study may have."""
        with self._database.writing() as session:
            study_id = reading.study_row(session, study, lock=True).id
            session.merge(PriorRow(study_id=study_id, content=content))

    def prior(self, study: str) -> dict[str, object] | None:
        """Return the prior of a study, or ``None`` if it has not been saved."""
        with self._database.reading() as session:
            return reading.prior(session, reading.study_row(session, study).id)

    def begin_run(self, study: str, info: RunInfo) -> int:
        """Add a run and return its id."""
        with self._database.writing() as session:
            return runs.begin(session, reading.study_row(session, study).id, info)

    def record_heartbeat(
        self, run: int, seconds: float, spent: Mapping[str, float], *, ended: bool = False
    ) -> None:
        """Record that a run is alive after so many seconds, or that it has ended."""
        with self._database.writing() as session:
            runs.record_heartbeat(session, run, seconds, spent, ended=ended)

    def mark_dead(self, run: int) -> None:
        """Record that a run's driver is gone."""
        with self._database.writing() as session:
            runs.mark_dead(session, run)

    def runs(self, study: str) -> Sequence[Run]:
        """Return the runs of a study in order."""
        with self._database.reading() as session:
            return runs.of_study(session, reading.study_row(session, study).id)

    def count(self, study: str) -> ClaimCounts:
        """Count the evaluated architectures and those that runs have claimed."""
        with self._database.reading() as session:
            return runs.count(session, reading.study_row(session, study).id)

    def claim(
        self, study: str, architecture: Architecture, trial: int, *, run: int, budget: int | None
    ) -> ClaimResult:
        """Claim the right to evaluate an architecture; ``budget`` is that of the whole study."""
        with self._database.writing() as session:
            study_id = reading.study_row(session, study, lock=True).id
            return runs.claim(session, study_id, architecture, trial, run=run, budget=budget)

    def claims(self, study: str) -> list[Claim]:
        """Return the claims of running trials and of those whose run was killed."""
        with self._database.reading() as session:
            return runs.claims(session, reading.study_row(session, study).id)

    @contextmanager
    def transaction(self, study: str) -> Iterator[None]:
        """Open a transaction that Optuna's storage joins; it locks the study.

        Optuna's own tables are not locked: another driver may still begin trials.
        """
        with self._database.writing_with_optuna() as session:
            reading.study_row(session, study, lock=True)
            yield

    def settle(self, study: str, trial: int, tell: Callable[[], object]) -> bool:
        """Release a trial's claim, if it has one, and tell Optuna, in one transaction.

        Returns:
            Whether the trial had a claim; if not, Optuna is told nothing.
        """
        with self._database.writing_with_optuna() as session:
            study_id = reading.study_row(session, study, lock=True).id
            released = runs.release(session, study_id, trial)
            if released:
                tell()
            return released

    def record(
        self,
        study: str,
        record: TrialRecord,
        *,
        tell: Callable[[], object] = lambda: None,
    ) -> list[ParetoTrial] | None:
        """Store a claimed trial that was evaluated, and tell Optuna, in one transaction.

        Returns:
            The front, or ``None`` if the claim has passed to another run: nothing is stored then.
        """
        with self._database.writing_with_optuna() as session:
            row = reading.study_row(session, study, lock=True)
            if not runs.release(session, row.id, record.trial):
                return None
            session.add(_trial_row(row.id, record))
            session.flush()
            tell()
            return non_dominated(_pareto_trials(session, row))

    def trials(self, study: str) -> list[ParetoTrial]:
        """Return the trials that completed their last rung, in order."""
        with self._database.reading() as session:
            return _pareto_trials(session, reading.study_row(session, study))

    def trial_records(self, study: str) -> list[TrialRecord]:
        """Return all evaluated trials in order, including those that were stopped early."""
        with self._database.reading() as session:
            row = reading.study_row(session, study)
            prices = reading.price_table(session, row)
            trials = reading.trial_rows(session, row.id)
            return [reading.trial_record(trial, prices) for trial in trials]

    def front(self, study: str) -> list[ParetoTrial]:
        """Return the front, slowest trial first."""
        return non_dominated(self.trials(study))


def _check_rows(study: str, rows: Iterable[Base]) -> None:
    try:
        for row in rows:
            check_row(row)
    except ValueError as error:
        raise StorageError(f"study {study} can't be stored ({error})") from error


def _pareto_trials(session: Session, study: StudyRow) -> list[ParetoTrial]:
    prices = reading.price_table(session, study)
    return reading.pareto_trials(reading.trial_rows(session, study.id), prices)


def _trial_row(study_id: int, record: TrialRecord) -> TrialRow:
    return TrialRow(
        study_id=study_id,
        number=record.trial,
        architecture=record.architecture.written(),
        weights=None if record.stopped else file_name(record.trial),
        stopped=record.stopped,
        score=record.score,
        run_id=record.run,
        elapsed_s=record.elapsed_s,
        measurements=[MeasurementRow(**asdict(rung)) for rung in record.rungs],
    )
