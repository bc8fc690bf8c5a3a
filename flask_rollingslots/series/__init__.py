"""What people decide about templates and slots: create, edit, cancel, delete, restore, complete."""
