namespace Cowork.Marten;

/// <summary>Where a database is, for the roles that work with it.</summary>
/// <param name="Host">Connection string of the hosts' role.</param>
/// <param name="Owner">Connection string of the role that owns the schema; null: it is the same, or not known here.</param>
/// <param name="StartupOptions">A connection's first message may have options.</param>
public sealed record DatabaseAddress(string Host, string? Owner, bool StartupOptions);
