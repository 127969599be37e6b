namespace Cowork.Web;

/// <summary><c>Cowork:Tls:…</c>: the files of the certificate that the host shows. They are read again when they change.</summary>
/// <param name="Certificate">Absolute path of a PEM file (the certificate, then those that lead to its root), or of a PFX file.</param>
/// <param name="Key">Absolute path of a PEM file with the private key; null: it is in the certificate's file.</param>
/// <param name="Password">Of the PFX file, or of the private key; null: it needs none, or a file has it.</param>
/// <param name="PasswordFile">Absolute path of a file with the password in its first line.</param>
public sealed record TlsSettings(string Certificate, string? Key, bool IsPfx, string? Password, string? PasswordFile)
{
    /// <summary>The name of the setting that names the certificate's file.</summary>
    public string CertificateSetting => IsPfx ? "Cowork:Tls:Pfx" : "Cowork:Tls:Certificate";

    /// <summary>The name of the setting that names the private key's file.</summary>
    public string KeySetting => Key is null ? CertificateSetting : "Cowork:Tls:Key";

    /// <summary>Null: the host serves plain HTTP.</summary>
    /// <exception cref="ArgumentException">The settings contradict each other.</exception>
    public static TlsSettings? Read(IConfigurationSection tls)
    {
        var (certificate, key, pfx) = (PathOf(tls, "Certificate"), PathOf(tls, "Key"), PathOf(tls, "Pfx"));
        var (password, passwordFile) = (tls["Password"] is { Length: > 0 } text ? text : null, PathOf(tls, "PasswordFile"));
        if (tls.OneOf("Mode", "none") is not null && (certificate ?? key ?? pfx) is not null)
        {
            throw new ArgumentException("Cowork:Tls:Mode is none, and a certificate is named beside it. Leave one of the two out.");
        }
        if (certificate is not null && pfx is not null)
        {
            throw new ArgumentException("Cowork:Tls:Certificate and Cowork:Tls:Pfx both name a certificate. Leave one of the two out.");
        }
        if (key is not null && certificate is null)
        {
            throw new ArgumentException("Cowork:Tls:Key names a private key for which Cowork:Tls:Certificate names no certificate.");
        }
        if (password is not null && passwordFile is not null)
        {
            throw new ArgumentException("Cowork:Tls:Password and Cowork:Tls:PasswordFile both give a password. Leave one of the two out.");
        }
        return (certificate ?? pfx) is { } path ? new(path, key, pfx is not null, password, passwordFile)
            : password is null && passwordFile is null ? null
            : throw new ArgumentException("Cowork:Tls has a password, and neither Cowork:Tls:Certificate nor Cowork:Tls:Pfx names a certificate.");
    }

    static string? PathOf(IConfigurationSection tls, string name) => tls.Text(name) is { } path ? Path.GetFullPath(path) : null;
}
