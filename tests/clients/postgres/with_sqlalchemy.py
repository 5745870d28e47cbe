"""SQLAlchemy 2 on psycopg and on asyncpg: reflection, Core and ORM.

    with_sqlalchemy.py HOST PORT
"""

import asyncio
import sys
from decimal import Decimal

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column


class Base(DeclarativeBase):
    pass


class Customer(Base):
    __tablename__ = "customers"
    id: Mapped[int] = mapped_column(sa.BigInteger, primary_key=True, autoincrement=False)
    name: Mapped[str]
    tags: Mapped[list[str] | None] = mapped_column(sa.ARRAY(sa.Text))


class Purchase(Base):
    __tablename__ = "purchases"
    customer: Mapped[int] = mapped_column(sa.BigInteger, primary_key=True, autoincrement=False)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    price: Mapped[Decimal | None] = mapped_column(sa.Numeric(10, 2))


def define(engine):
    with engine.begin() as connection:
        Base.metadata.create_all(connection)
        connection.exec_driver_sql("CREATE STREAM clicks (at timestamptz, page text)")


def reflection(engine):
    inspector = sa.inspect(engine)
    assert inspector.default_schema_name == "public"
    assert {"public", "log", "sys"} <= set(inspector.get_schema_names())
    assert sorted(inspector.get_table_names()) == ["clicks", "customers", "purchases"]
    assert "customers" in inspector.get_view_names(schema="log")
    assert inspector.has_table("customers") and not inspector.has_table("nowhere")
    columns = {column["name"]: column for column in inspector.get_columns("purchases")}
    assert list(columns) == ["customer", "number", "price"]
    assert isinstance(columns["customer"]["type"], sa.BIGINT)
    assert not columns["customer"]["nullable"] and columns["price"]["nullable"]
    assert (columns["price"]["type"].precision, columns["price"]["type"].scale) == (10, 2)
    key = inspector.get_pk_constraint("purchases")
    assert key["constrained_columns"] == ["customer", "number"], key
    assert key["name"] == "purchases_pkey", key
    assert inspector.get_pk_constraint("clicks")["constrained_columns"] == []
    assert inspector.get_foreign_keys("purchases") == []
    assert inspector.get_indexes("purchases") == []
    assert inspector.get_unique_constraints("purchases") == []
    assert inspector.get_check_constraints("purchases") == []
    assert inspector.get_table_comment("purchases") == {"text": None}
    assert inspector.get_sequence_names() == []
    assert inspector.get_enums() == []
    metadata = sa.MetaData()
    metadata.reflect(engine)
    assert set(metadata.tables) == {"customers", "purchases", "clicks"}
    table = sa.Table("customers", sa.MetaData(), autoload_with=engine)
    assert [column.name for column in table.primary_key] == ["id"]
    assert isinstance(table.c.tags.type, sa.ARRAY), table.c.tags.type


def core(engine):
    customers, purchases = Customer.__table__, Purchase.__table__
    with engine.begin() as connection:
        given = connection.execute(
            customers.insert().returning(customers.c.id, customers.c.name),
            {"id": 1, "name": "Ann", "tags": ["a", "b"]},
        )
        assert given.all() == [(1, "Ann")]
    with engine.begin() as connection:
        # insertmanyvalues: some statements of many rows, with RETURNING.
        given = connection.execute(
            customers.insert().returning(customers.c.id),
            [{"id": n, "name": f"customer {n}", "tags": None} for n in range(2, 2500)],
        )
        assert sorted(id for id, in given) == list(range(2, 2500))
    with engine.begin() as connection:
        connection.execute(
            purchases.insert(),
            [{"customer": c, "number": n, "price": Decimal(c) / 4} for c in (1, 2) for n in (1, 2)],
        )
    with engine.begin() as connection:
        changed = connection.execute(
            customers.update().where(customers.c.id == 2).values(name="Bob")
        )
        assert changed.rowcount == 1
    with engine.connect() as connection:
        joined = connection.execute(
            sa.select(customers.c.name, sa.func.sum(purchases.c.price))
            .join_from(customers, purchases, customers.c.id == purchases.c.customer)
            .group_by(customers.c.name)
            .order_by(customers.c.name)
        ).all()
        assert joined == [("Ann", Decimal("0.50")), ("Bob", Decimal("1.00"))], joined
        streamed = connection.execution_options(stream_results=True, max_row_buffer=100).execute(
            sa.select(customers.c.id).order_by(customers.c.id)
        )
        assert [id for id, in streamed] == list(range(1, 2500))
    with engine.begin() as connection:
        gone = connection.execute(customers.delete().where(customers.c.id > 10))
        assert gone.rowcount == 2489, gone.rowcount


def orm(engine):
    with Session(engine) as session:
        assert session.get(Customer, 1).tags == ["a", "b"]
        assert session.get(Customer, 999) is None
        session.add_all([Customer(id=100, name="Eve"), Customer(id=101, name="Max")])
        session.commit()
        eve = session.get(Customer, 100)
        eve.name = "Eva"
        session.commit()
        names = session.scalars(
            sa.select(Customer.name).where(Customer.id >= 100).order_by(Customer.id)
        ).all()
        assert names == ["Eva", "Max"], names
        session.delete(session.get(Customer, 101))
        session.commit()
        found = session.execute(
            sa.select(Customer, Purchase)
            .join(Purchase, Purchase.customer == Customer.id)
            .where(Customer.name == "Ann")
        ).all()
        assert [purchase.number for _, purchase in found] in ([1, 2], [2, 1])
        # Twice the same key.
        session.add(Customer(id=1, name="again"))
        try:
            session.commit()
            raise AssertionError("the key exists")
        except sa.exc.IntegrityError:
            session.rollback()


def savepoints(engine):
    with Session(engine) as session:
        session.add(Customer(id=200, name="stays"))
        session.flush()
        nested = session.begin_nested()
        session.add(Customer(id=201, name="goes"))
        session.flush()
        nested.rollback()
        session.commit()
        ids = session.scalars(sa.select(Customer.id).where(Customer.id >= 200)).all()
        assert ids == [200], ids


async def on_asyncpg(where):
    engine = create_async_engine(f"postgresql+asyncpg://{where}")
    async with engine.begin() as connection:
        await connection.execute(
            Customer.__table__.insert(), [{"id": n, "name": "async"} for n in (300, 301)]
        )
    async with engine.connect() as connection:
        names = await connection.run_sync(lambda sync: sa.inspect(sync).get_table_names())
        assert sorted(names) == ["clicks", "customers", "purchases"]
        key = await connection.run_sync(lambda sync: sa.inspect(sync).get_pk_constraint("purchases"))
        assert key["constrained_columns"] == ["customer", "number"], key
        rows = await connection.execute(sa.select(Customer.id).where(Customer.name == "async"))
        assert sorted(id for id, in rows) == [300, 301]
    await engine.dispose()


def main(host, port):
    where = f"tester@{host}:{port}/anabranch"
    engine = sa.create_engine(f"postgresql+psycopg://{where}")
    define(engine)
    reflection(engine)
    core(engine)
    orm(engine)
    savepoints(engine)
    engine.dispose()
    engine = sa.create_engine(f"postgresql+psycopg2://{where}")
    reflection(engine)
    engine.dispose()
    asyncio.run(on_asyncpg(where))


if __name__ == "__main__":
    main(*sys.argv[1:])
