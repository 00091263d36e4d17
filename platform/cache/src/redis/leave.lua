-- ARGV: member. Answers how many are left.
leave(ARGV[1])
return settle()
