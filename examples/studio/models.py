"""The database: people with credits, and slots with a teacher."""

from __future__ import annotations

from flask_login import LoginManager, UserMixin
from flask_migrate import Migrate
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import String
from sqlalchemy.orm import Mapped, mapped_column
from werkzeug.security import check_password_hash, generate_password_hash

from flask_rollingslots import RollingSlots, SlotMixin

db = SQLAlchemy()
migrate = Migrate()
login = LoginManager()
login.login_view = "pages.sign_in"


class User(UserMixin, db.Model):
    """Somebody who comes to classes; a new one has ten credits."""

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(80), unique=True)
    password_hash: Mapped[str] = mapped_column(String(200))
    credits: Mapped[int] = mapped_column(default=10)

    def set_password(self, password: str) -> None:
        """Store a hash of the password."""
        self.password_hash = generate_password_hash(password)

    def has_password(self, password: str) -> bool:
        """Say whether this is the password."""
        return check_password_hash(self.password_hash, password)


class ClassSlot(SlotMixin, db.Model):
    """A class on one day. A column of our own has to be nullable: top-ups do not know it."""

    __tablename__ = "class_slot"
    teacher: Mapped[str | None] = mapped_column(String(80))


slots = RollingSlots(db=db, models={"Slot": ClassSlot})
