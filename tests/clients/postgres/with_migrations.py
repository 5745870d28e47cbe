"""Migrations: Django's and Alembic's, each in a transaction of its own.

    with_migrations.py HOST PORT
"""

import pathlib
import subprocess
import sys
import tempfile
import textwrap

import psycopg
import sqlalchemy as sa
from alembic import command
from alembic.config import Config

SETTINGS = """
DATABASES = {{"default": {{"ENGINE": "django.db.backends.postgresql", "HOST": "{host}",
    "PORT": "{port}", "USER": "tester", "NAME": "anabranch"}}}}
INSTALLED_APPS = ["shop"]
USE_TZ = True
SECRET_KEY = "test"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
"""

MODELS = """
from django.db import models

class Author(models.Model):
    name = models.CharField(max_length=60)
    born = models.DateField(null=True)

class Book(models.Model):
    title = models.CharField(max_length=200, db_index=True)
    price = models.DecimalField(max_digits=8, decimal_places=2, default=0)

    class Meta:
        constraints = [models.CheckConstraint(condition=models.Q(price__gte=0), name="not_negative")]
"""

CHANGED = """
from django.db import models

class Author(models.Model):
    full_name = models.TextField()
    rating = models.IntegerField(default=3)

class Volume(models.Model):
    title = models.CharField(max_length=400)
    price = models.DecimalField(max_digits=8, decimal_places=2, default=0)
    notes = models.JSONField(default=dict)

class Shelf(models.Model):
    label = models.CharField(max_length=10)
"""

# What the questions of makemigrations would be answered with.
SECOND = """
from django.db import migrations, models

def rate(apps, schema_editor):
    for author in apps.get_model("shop", "Author").objects.all():
        author.rating = len(author.full_name)
        author.save()

class Migration(migrations.Migration):
    dependencies = [("shop", "0001_initial")]
    operations = [
        migrations.RenameField("author", "name", "full_name"),
        migrations.AlterField("author", "full_name", models.TextField()),
        migrations.RemoveField("author", "born"),
        migrations.AddField("author", "rating", models.IntegerField(default=3)),
        migrations.RunPython(rate, migrations.RunPython.noop),
        migrations.RemoveConstraint("book", "not_negative"),
        migrations.RenameModel("Book", "Volume"),
        migrations.AlterField("volume", "title", models.CharField(max_length=400)),
        migrations.AddField("volume", "notes", models.JSONField(default=dict)),
        migrations.CreateModel("Shelf", [
            ("id", models.BigAutoField(
                auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
            ("label", models.CharField(max_length=10)),
        ]),
    ]
"""

FAILING = """
from django.db import migrations, models

class Migration(migrations.Migration):
    dependencies = [("shop", "0002_second")]
    operations = [
        migrations.DeleteModel("Shelf"),
        migrations.RunSQL("INSERT INTO shop_author (full_name) VALUES (NULL)"),
    ]
"""


def django(host, port):
    with tempfile.TemporaryDirectory() as directory:
        place = pathlib.Path(directory)
        shop = place / "shop"
        (shop / "migrations").mkdir(parents=True)
        for init in [shop, shop / "migrations"]:
            (init / "__init__.py").touch()
        (place / "settings.py").write_text(SETTINGS.format(host=host, port=port))

        def manage(*arguments, fails=False):
            done = subprocess.run(
                [sys.executable, "-B", "-m", "django", *arguments, "--settings", "settings"],
                cwd=place, env={"PYTHONPATH": str(place)}, capture_output=True, text=True,
            )
            assert (done.returncode != 0) == fails, (arguments, done.stdout, done.stderr)
            return done.stdout + done.stderr

        def ask(statement):
            with psycopg.connect(host=host, port=port, user="tester", dbname="anabranch") as one:
                return one.execute(statement).fetchall()

        (shop / "models.py").write_text(MODELS)
        manage("makemigrations", "shop")
        manage("migrate")
        with psycopg.connect(host=host, port=port, user="tester", dbname="anabranch") as one:
            one.execute("INSERT INTO shop_author (name) VALUES ('Ada'), ('Grace')")
            one.execute("INSERT INTO shop_book (title, price) VALUES ('Notes', 3.5)")
        (shop / "models.py").write_text(CHANGED)
        (shop / "migrations" / "0002_second.py").write_text(SECOND)
        manage("migrate")
        assert "No changes" in manage("makemigrations", "--check", "shop")
        rows = ask("SELECT full_name, rating FROM shop_author ORDER BY id")
        assert rows == [("Ada", 3), ("Grace", 5)], rows
        rows = ask("SELECT id, title, price::text, notes FROM shop_volume")
        assert rows == [(1, "Notes", "3.50", {})], rows
        # A migration that fails leaves nothing behind.
        (shop / "migrations" / "0003_failing.py").write_text(FAILING)
        assert "null value" in manage("migrate", fails=True)
        assert ask("SELECT count(*) FROM shop_shelf") == [(0,)]
        assert ask("SELECT count(*) FROM shop_author") == [(2,)]
        (shop / "migrations" / "0003_failing.py").unlink()
        # There and back.
        manage("migrate", "shop", "zero")
        names = ask("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        assert names == [("django_migrations",)], names


ENVIRONMENT = """
from alembic import context
import sqlalchemy as sa

engine = sa.create_engine(context.config.get_main_option("sqlalchemy.url"))
with engine.connect() as connection:
    context.configure(
        connection=connection, target_metadata=context.config.attributes["metadata"],
        transaction_per_migration=True,
    )
    with context.begin_transaction():
        context.run_migrations()
"""


def alembic(host, port):
    url = f"postgresql+psycopg://tester@{host}:{port}/anabranch"
    with tempfile.TemporaryDirectory() as directory:
        config = Config(directory + "/alembic.ini")
        command.init(config, directory + "/scripts")
        config = Config(directory + "/alembic.ini")
        config.set_main_option("sqlalchemy.url", url)
        pathlib.Path(directory, "scripts", "env.py").write_text(textwrap.dedent(ENVIRONMENT))

        def revise(name, *tables):
            metadata = sa.MetaData()
            for table, *columns in tables:
                sa.Table(table, metadata, *columns)
            config.attributes["metadata"] = metadata
            command.revision(config, name, autogenerate=True)
            command.upgrade(config, "head")

        key = lambda: sa.Column("id", sa.BigInteger, sa.Identity(), primary_key=True)
        text = lambda name: sa.Column(name, sa.Text)
        revise("first", ("users", key(), text("name")), ("posts", key(), text("body")))
        engine = sa.create_engine(url)
        with engine.begin() as connection:
            connection.execute(sa.text("INSERT INTO users (name) VALUES ('a'), ('b')"))
        mail = sa.Column("mail", sa.String(80), server_default="none", nullable=False)
        revise("second", ("users", key(), text("name"), mail), ("tags", key(), text("tag")))
        inspector = sa.inspect(engine)
        names = sorted(inspector.get_table_names())
        assert names == ["alembic_version", "tags", "users"], names
        with engine.begin() as connection:
            rows = connection.execute(sa.text("SELECT * FROM users ORDER BY id")).all()
        assert rows == [(1, "a", "none"), (2, "b", "none")], rows
        command.downgrade(config, "-1")
        names = sorted(sa.inspect(engine).get_table_names())
        assert names == ["alembic_version", "posts", "users"], names
        command.downgrade(config, "base")
        assert sa.inspect(engine).get_table_names() == ["alembic_version"]
        engine.dispose()


def main(host, port):
    django(host, port)
    with psycopg.connect(host=host, port=port, user="tester", dbname="anabranch") as one:
        one.execute("DROP TABLE django_migrations")
    alembic(host, port)


if __name__ == "__main__":
    main(*sys.argv[1:])
