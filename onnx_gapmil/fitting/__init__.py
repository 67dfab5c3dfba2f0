"""What labelled images choose: which preprocessing fits a model."""
