"""Values that cross the borders between the portal's layers; they know no protocol and no storage."""
