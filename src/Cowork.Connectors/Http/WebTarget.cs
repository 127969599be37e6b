namespace Cowork.Connectors;

/// <summary>A web service as a connection knows it.</summary>
/// <param name="Headers">Go with each request to it, and to nowhere else.</param>
/// <param name="Mask">Takes its secrets out of what it says.</param>
sealed record WebTarget(BaseUrl Base, IReadOnlyList<KeyValuePair<string, string>> Headers, SecretMask Mask)
{
    public override string ToString() => Base.Host;
}
