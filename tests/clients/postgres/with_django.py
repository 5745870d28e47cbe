"""Django: models of streams that are there already, as `inspectdb` writes them.

    with_django.py HOST PORT
"""

import io
import sys

import django
from django.conf import settings
from django.core.management import call_command
from django.db import connection, models, transaction


def configure(host, port):
    settings.configure(
        DATABASES={
            "default": {
                "ENGINE": "django.db.backends.postgresql",
                "HOST": host,
                "PORT": port,
                "USER": "tester",
                "NAME": "anabranch",
            }
        },
        INSTALLED_APPS=[],
        USE_TZ=True,
    )
    django.setup()


def inspected():
    out = io.StringIO()
    call_command("inspectdb", stdout=out)
    written = out.getvalue()
    for line in [
        "class Books(models.Model):",
        "id = models.BigIntegerField(primary_key=True)",
        "title = models.TextField()",
        "price = models.DecimalField(max_digits=10, decimal_places=2, blank=True, null=True)",
        "printed = models.DateTimeField(blank=True, null=True)",
        "db_table = 'books'",
    ]:
        assert line in written, (line, written)
    with connection.cursor() as cursor:
        names = connection.introspection.table_names(cursor)
        assert names == ["books"], names
        key = connection.introspection.get_primary_key_columns(cursor, "books")
        assert key == ["id"], key
        constraints = connection.introspection.get_constraints(cursor, "books")
        assert constraints["books_pkey"]["primary_key"], constraints
        assert constraints["books_pkey"]["columns"] == ["id"], constraints
        assert connection.introspection.get_relations(cursor, "books") == {}
        assert connection.introspection.get_sequences(cursor, "books") == []


def queried(book):
    book.objects.bulk_create(
        book(id=n, title=f"book {n}", price=n, printed=None) for n in range(1, 200)
    )
    assert book.objects.count() == 199
    assert book.objects.get(pk=7).title == "book 7"
    assert not book.objects.filter(pk=1000).exists()
    some = book.objects.filter(title__icontains="BOOK 19", price__gte=100).order_by("-id")
    assert [one.id for one in some] == [199, 198, 197, 196, 195, 194, 193, 192, 191, 190]
    assert book.objects.filter(id__in=[1, 2, 3]).update(title="changed") == 3
    assert book.objects.filter(title="changed").count() == 3
    total = book.objects.aggregate(models.Sum("price"), models.Avg("price"))
    assert total["price__sum"] == sum(range(1, 200)), total
    years = book.objects.values("title").annotate(n=models.Count("id")).order_by("-n")[:1]
    assert list(years) == [{"title": "changed", "n": 3}]
    deleted, _ = book.objects.filter(pk=5).delete()
    assert deleted == 1
    # Read in pieces, by a cursor on the server.
    with transaction.atomic():
        assert len(list(book.objects.order_by("id").iterator(chunk_size=50))) == 198
    one = book.objects.get(pk=9)
    one.title = "saved"
    one.save()
    assert book.objects.get(pk=9).title == "saved"
    try:
        with transaction.atomic():
            book.objects.filter(pk=9).update(title="lost")
            raise RuntimeError
    except RuntimeError:
        pass
    assert book.objects.get(pk=9).title == "saved"
    with connection.cursor() as cursor:
        cursor.execute("SELECT title FROM books WHERE id = %s", [9])
        assert cursor.fetchone() == ("saved",)


def main(host, port):
    configure(host, port)
    with connection.cursor() as cursor:
        cursor.execute(
            "CREATE STREAM books (id bigint PRIMARY KEY, title text NOT NULL, price numeric(10,2),"
            " printed timestamptz)"
        )
    inspected()

    class Book(models.Model):
        id = models.BigIntegerField(primary_key=True)
        title = models.TextField()
        price = models.DecimalField(max_digits=10, decimal_places=2, null=True)
        printed = models.DateTimeField(null=True)

        class Meta:
            app_label = "shop"
            managed = False
            db_table = "books"

    queried(Book)
    connection.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
