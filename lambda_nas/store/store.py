"""Studies, prices, priors, measurements and fronts, in and out of the database."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict

from sqlalchemy import Engine, delete, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session, selectinload

from lambda_nas.core.cost import Price
from lambda_nas.core.removal import RemovalSet
from lambda_nas.errors import InputError, StorageError, StudyMismatchError
from lambda_nas.search.values import FrontPoint, History, RungResult, StudyInfo
from lambda_nas.store import schema
from lambda_nas.store.engine import open_engine
from lambda_nas.store.fronts import non_dominated

_PRICE_FIELDS = tuple(Price.__dataclass_fields__)


class Store:
    """Our tables in one database; each method is one transaction."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @classmethod
    def open(cls, url: str, *, create: bool = True) -> "Store":
        """Open a database, making or migrating our tables.

        Raises:
            InputError: If the URL can't be understood.
            StorageError: If the database can't be used, or is missing and not to be created.
        """
        return cls(open_engine(url, create=create))

    @property
    def optuna_url(self) -> str:
        """The URL, for Optuna's tables in the same database."""
        return self._engine.url.render_as_string(hide_password=False)

    def has(self, name: str) -> bool:
        """Say whether there is a study of this name."""
        with self._session() as session:
            query = select(schema.Study.id).where(schema.Study.name == name)
            return session.scalar(query) is not None

    def create_study(self, info: StudyInfo, prices: Mapping[int, Price]) -> None:
        """Add a study with the prices of all its cost signatures, the baseline's at 0."""
        values = asdict(info) | {"layers": list(info.layers)}
        del values["baseline"]
        with self._session() as session:
            row = schema.Study(**values)
            session.add(row)
            session.flush()
            for count, price in prices.items():
                session.add(schema.Price(study_id=row.id, removed_count=count, **asdict(price)))

    def study(self, name: str) -> StudyInfo:
        """Return a study.

        Raises:
            InputError: If there is none of this name; lists those there are.
        """
        with self._session() as session:
            return _info(session, _study(session, name))

    def studies(self) -> list[StudyInfo]:
        """Return all studies, oldest first."""
        with self._session() as session:
            rows = session.scalars(select(schema.Study).order_by(schema.Study.id))
            return [_info(session, row) for row in rows]

    def check_same(
        self, name: str, model: str, model_fingerprint: str, data: str, data_fingerprint: str
    ) -> None:
        """Refuse to go on with a study over another model or other data.

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

    def prices(self, study: str) -> dict[int, Price]:
        """Return the prices by number of layers removed; 0 is the unpruned model."""
        with self._session() as session:
            return _prices(session, _study(session, study).id)

    def save_prior(self, study: str, content: dict[str, object]) -> None:
        """Keep the prior of a study in place of the one it has."""
        with self._session() as session:
            study_id = _study(session, study, lock=True).id
            session.execute(delete(schema.Prior).where(schema.Prior.study_id == study_id))
            session.add(schema.Prior(study_id=study_id, content=content))

    def prior(self, study: str) -> dict[str, object] | None:
        """Return the prior of a study if it has been measured."""
        with self._session() as session:
            query = select(schema.Prior.content).where(
                schema.Prior.study_id == _study(session, study).id
            )
            return session.scalar(query)

    def record(
        self,
        study: str,
        trial: int,
        removal: RemovalSet,
        rungs: Sequence[RungResult],
        weights: str | None,
        *,
        stopped: str | None = None,
    ) -> list[FrontPoint]:
        """Keep an evaluated trial and bring the front up to date; return the front.

        ``stopped`` is why the trial was stopped early, which keeps it off the front.
        """
        with self._session() as session:
            study_id = _study(session, study, lock=True).id
            session.add(
                schema.Architecture(
                    study_id=study_id,
                    trial=trial,
                    removed=",".join(map(str, removal)),
                    removed_count=len(removal),
                    weights=weights,
                    stopped=stopped,
                    measurements=[schema.Measurement(**asdict(rung)) for rung in rungs],
                )
            )
            session.flush()
            by_id = _points(session, study_id)
            front = non_dominated(list(by_id.values()))
            trials = {point.trial for point in front}
            session.execute(
                delete(schema.FrontMember).where(schema.FrontMember.study_id == study_id)
            )
            for architecture_id, point in by_id.items():
                if point.trial in trials:
                    session.add(
                        schema.FrontMember(study_id=study_id, architecture_id=architecture_id)
                    )
            return front

    def trials(self, study: str) -> list[FrontPoint]:
        """Return all trials that went to the end, in order."""
        with self._session() as session:
            points = _points(session, _study(session, study).id).values()
            return sorted(points, key=lambda point: point.trial)

    def histories(self, study: str) -> list[History]:
        """Return all evaluated trials in order, those that were stopped early too."""
        with self._session() as session:
            rows = _architectures(session, _study(session, study).id)
            histories = [
                History(
                    trial=row.trial,
                    removal=RemovalSet.parse(row.removed),
                    rungs=tuple(
                        RungResult(rung.rung, rung.accuracy, rung.seconds)
                        for rung in row.measurements
                    ),
                    stopped=row.stopped,
                )
                for row in rows
            ]
            return sorted(histories, key=lambda history: history.trial)

    def front(self, study: str) -> list[FrontPoint]:
        """Return the front as it was stored, slowest first."""
        with self._session() as session:
            study_id = _study(session, study).id
            points = _points(session, study_id)
            query = select(schema.FrontMember.architecture_id).where(
                schema.FrontMember.study_id == study_id
            )
            members = [points[architecture_id] for architecture_id in session.scalars(query)]
            return sorted(members, key=lambda point: (point.price.throughput, point.trial))

    @contextmanager
    def _session(self) -> Iterator[Session]:
        try:
            with Session(self._engine) as session, session.begin():
                yield session
        except SQLAlchemyError as error:
            shown = self._engine.url.render_as_string(hide_password=True)
            reason = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
            raise StorageError(f"the study database {shown} failed ({reason})") from error


def _study(session: Session, name: str, *, lock: bool = False) -> schema.Study:
    query = select(schema.Study).where(schema.Study.name == name)
    if lock:
        # Two searches of one study: the second must see the trial that the first is recording,
        # or its front lacks it. SQLite has no row locks and needs none, with one writer at a time.
        query = query.with_for_update()
    row = session.scalar(query)
    if row is None:
        names = session.scalars(select(schema.Study.name).order_by(schema.Study.id)).all()
        there = f"there are {', '.join(names)}" if names else "there is none yet"
        raise InputError(f"no study is named {name}; {there}")
    return row


def _info(session: Session, row: schema.Study) -> StudyInfo:
    return StudyInfo(
        name=row.name,
        model=row.model,
        model_fingerprint=row.model_fingerprint,
        data=row.data,
        data_fingerprint=row.data_fingerprint,
        device=row.device,
        layers=tuple(row.layers),
        seed=row.seed,
        baseline_accuracy=row.baseline_accuracy,
        baseline=_prices(session, row.id)[0],
        settings=row.settings,
    )


def _prices(session: Session, study_id: int) -> dict[int, Price]:
    rows = session.scalars(select(schema.Price).where(schema.Price.study_id == study_id))
    return {
        row.removed_count: Price(**{field: getattr(row, field) for field in _PRICE_FIELDS})
        for row in rows
    }


def _architectures(session: Session, study_id: int) -> Iterable[schema.Architecture]:
    return session.scalars(
        select(schema.Architecture)
        .where(schema.Architecture.study_id == study_id)
        .options(selectinload(schema.Architecture.measurements))
    )


def _points(session: Session, study_id: int) -> dict[int, FrontPoint]:
    """Return the trials that went to the end by architecture id, each with its best rung."""
    prices = _prices(session, study_id)
    points = {}
    for row in _architectures(session, study_id):
        if row.stopped is not None:
            continue
        best = max(row.measurements, key=lambda rung: rung.accuracy)
        points[row.id] = FrontPoint(
            trial=row.trial,
            removal=RemovalSet.parse(row.removed),
            accuracy=best.accuracy,
            rung=best.rung,
            price=prices[row.removed_count],
            weights=row.weights,
        )
    return points
