namespace Cowork.Testing;

/// <summary>How specs wait.</summary>
public static class Patience
{
    /// <summary>How long a spec waits for what must come to pass. It is no bound on speed: a machine may be busy with other specs for many seconds.</summary>
    public static readonly TimeSpan Limit = TimeSpan.FromSeconds(60);
}
