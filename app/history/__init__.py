"""What a thing inside a deal said before: the versions it went through, how two of them differ, and how three become one."""
